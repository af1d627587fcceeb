/** The access node that serves this console. Addresses are relative to where the console was loaded from. */

import type { Address } from 'viem'
import { strings as t } from '../strings'

/** Base address, with a slash at its end; right below a sub-path and on public pages, too. */
export const BASE = new URL(import.meta.env.DEV ? '/' : '../', import.meta.url).href

export interface Facts {
  origin: string
  node: Address
  version: string
  chain: { id: number; title: string; currency: string; rpc_url: string | null; explorer: string | null }
  contracts: {
    plan_registry: Address
    asset_registry: Address
    node_registry: Address
    signature_validator: Address
    lens: Address
  }
  from_block: number
  providers: string[]
  session: Session | null
}

/** Who is signed in, and the token that changes need. */
export interface Session {
  subscriber: Address
  csrf_token: string
  expires_at: number
}

/** The node refused, or wasn't reached (status 0). */
export class NodeFailed extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly param: string | null = null,
  ) {
    super(message)
  }
}

let csrf = ''
export function setCsrf(token: string) {
  csrf = token
}

let onSignedOut = () => {}
/** Called when the node no longer knows the session. */
export function whenSignedOut(listener: () => void) {
  onSignedOut = listener
}

let known: Facts | null = null
export async function loadFacts(): Promise<Facts> {
  known ??= await api<Facts>('GET', 'console.json')
  return known
}

/** What `loadFacts` found; the console shows nothing before. */
export function facts(): Facts {
  if (!known) throw new Error(t.errors.tooEarly)
  return known
}

export async function api<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await send(method, path, body instanceof Uint8Array ? body : body && JSON.stringify(body))
  return (await answer.json()) as T
}

/** The answer itself, for what isn't JSON. stop: ends it, the body too. Raises NodeFailed. */
export async function send(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
  stop?: AbortSignal,
) {
  const all: Record<string, string> = { ...headers }
  if (body !== undefined) all['content-type'] ??= 'application/json'
  if (method !== 'GET' && csrf && !all.authorization) all['x-csrf-token'] = csrf
  const credentials = all.authorization ? 'omit' : 'same-origin'
  let answer: Response
  try {
    const options = {
      method,
      headers: all,
      body: body as BodyInit,
      credentials,
      redirect: 'error',
      signal: stop,
    } as const
    answer = await fetch(BASE + path, options)
  } catch {
    throw new NodeFailed(t.errors.nodeGone, 0, 'unreachable')
  }
  if (!answer.ok) {
    if (answer.status === 401 && !all.authorization) onSignedOut()
    const error = (await answer.json().catch(() => null))?.error
    throw new NodeFailed(
      error?.message ?? t.errors.status(answer.status),
      answer.status,
      error?.code ?? '',
      error?.param,
    )
  }
  return answer
}
