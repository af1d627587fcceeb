/** Sign-In with Ethereum at the node: a cookie that scripts can't read, and the token that changes need. */

import { effect, signal } from '@preact/signals'
import { strings as t } from '../strings'
import { api, facts, type Session, setCsrf, whenSignedOut } from './node'
import { account, signMessage, WalletFailed } from './wallet'

export const session = signal<Session | null>(null)

export const signedIn = () => session.value !== null && session.value.subscriber === account.value

export function startSession() {
  effect(() => setCsrf(session.value?.csrf_token ?? ''))
  whenSignedOut(() => {
    session.value = null
  })
  session.value = facts().session
}

/** Signs in with the connected wallet; asks nothing where it is signed in already. Raises Rejected, NodeFailed. */
export async function signIn(): Promise<void> {
  if (signedIn() && (session.value?.expires_at ?? 0) > Date.now() / 1000 + 60) return
  if (!account.value) throw new WalletFailed(t.errors.notConnected)
  const who = account.value
  const { message } = await api<{ message: string }>('GET', `auth/nonce?address=${who}`)
  const signature = await signMessage(who, message)
  session.value = await api<Session>('POST', 'auth/session', { message, signature })
}

export async function signOut(): Promise<void> {
  const gone = session.value
  session.value = null
  if (!gone) return
  setCsrf(gone.csrf_token)
  await api('DELETE', 'auth/session').catch(() => null)
  setCsrf('')
}
