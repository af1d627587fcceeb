/** Where in the console we are: behind the # of the address, so that any server below any path can serve it. */

import { signal } from '@preact/signals'
import { BASE } from './node'

export interface Route {
  path: string[]
  query: URLSearchParams
}

/** The text, or as it is where it has no such form: anybody can write an address. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function current(): Route {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?')
  const shared = /\/a\/(did:nv:[0-9a-f]{64})\/?$/.exec(decoded(location.pathname))
  if (!path && shared) return { path: ['a', shared[1] as string], query: new URLSearchParams(location.search) }
  return { path: path.split('/').filter(Boolean).map(decoded), query: new URLSearchParams(query) }
}

export const route = signal<Route>(current())

export function startRouting() {
  window.addEventListener('hashchange', () => {
    // From a public page everything else is at the console's own address.
    if (/\/a\/[^/]*$/.test(location.pathname) && location.hash) location.assign(`${BASE}${location.hash}`)
    route.value = current()
    window.scrollTo(0, 0)
    document.querySelector<HTMLElement>('main h1')?.focus()
  })
}

export function go(path: string) {
  location.hash = `#/${path}`
}

/** The same page with other words behind the question mark; not a step back. */
export function restate(path: string, query: Record<string, string>) {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString()
  history.replaceState(null, '', `#/${path}${words ? `?${words}` : ''}`)
  route.value = current()
}
