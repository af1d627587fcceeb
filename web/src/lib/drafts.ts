/** What was typed, kept in this tab until it is done: it survives a reload. What is private stays with one wallet. */

import { effect, signal, untracked } from '@preact/signals'
import type { Address } from 'viem'
import { account } from './wallet'

const PREFIX = 'nvm.draft.'
const PRIVATE = '.private'

const loaded = new Set<() => void>()

/** hidden: the fields that are for the wallet that typed them, and are forgotten when it goes. */
export function draft<T extends object>(name: string, fresh: () => T, hidden: (keyof T)[] = []) {
  const key = PREFIX + name
  const state = signal<T>({ ...fresh(), ...kept(key), ...kept(key + PRIVATE).fields })
  const set = (change: Partial<T>) => {
    state.value = { ...state.value, ...change }
    const open: Partial<T> = { ...state.value }
    const fields: Partial<T> = {}
    for (const one of hidden) {
      if (open[one]) fields[one] = open[one]
      delete open[one]
    }
    sessionStorage.setItem(key, JSON.stringify(open))
    if (Object.keys(fields).length) sessionStorage.setItem(key + PRIVATE, JSON.stringify({ of: account.value, fields }))
    else sessionStorage.removeItem(key + PRIVATE)
  }
  const forget = () => {
    const empty = fresh()
    set(Object.fromEntries(hidden.map((one) => [one, empty[one]])) as Partial<T>)
  }
  if (hidden.length) loaded.add(forget)
  return {
    state,
    set,
    /** Forgets the private fields only. */
    forget,
    clear() {
      state.value = fresh()
      sessionStorage.removeItem(key)
      sessionStorage.removeItem(key + PRIVATE)
    },
  }
}

/** Forgets what another wallet typed in private, as soon as that wallet disconnects or another one is there. */
export function startDrafts() {
  let before: Address | null = null
  effect(() => {
    const now = account.value
    const gone = before !== null && before !== now
    const theirs = Object.keys(sessionStorage).filter(
      (key) => key.startsWith(PREFIX) && key.endsWith(PRIVATE) && (gone || (now && kept(key).of !== now)),
    )
    before = now
    if (!theirs.length) return
    for (const key of theirs) sessionStorage.removeItem(key)
    untracked(() => {
      for (const forget of loaded) forget()
    })
  })
}

function kept(key: string): any {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? '{}')
  } catch {
    return {} // a draft of an older console: begin anew
  }
}
