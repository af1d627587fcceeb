/** The wallet in the header, and the gates before pages that need one. */

import { useComputed, useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { facts } from '../lib/node'
import { signedIn, signIn, signOut } from '../lib/session'
import { message } from '../lib/tx'
import {
  account,
  connect,
  connected,
  disconnect,
  type Found,
  switchNetwork,
  wallets,
  wrongNetwork,
} from '../lib/wallet'
import { strings as t } from '../strings'
import { Action, Dialog, Notice } from './basics'

export function WalletButton() {
  const open = useSignal(false)
  return (
    <>
      <button type="button" class={`button ${account.value ? '' : 'primary'}`} onClick={() => (open.value = true)}>
        {account.value ? `${account.value.slice(0, 6)}…${account.value.slice(-4)}` : t.wallet.connect}
      </button>
      {open.value && <WalletDialog onClose={() => (open.value = false)} />}
    </>
  )
}

function WalletDialog({ onClose }: { onClose: () => void }) {
  const leave = async () => {
    await signOut()
    disconnect()
    onClose()
  }
  if (account.value)
    return (
      <Dialog title={t.wallet.yours} onClose={onClose}>
        <p class="mono wrap">{account.value}</p>
        <p class="quiet">{t.wallet.with(connected.value?.info.name ?? '')}</p>
        <p class="row end">
          <button type="button" class="button" onClick={onClose}>
            {t.close}
          </button>
          <Action label={t.wallet.disconnect} run={leave} kind="danger" />
        </p>
      </Dialog>
    )
  return (
    <Dialog title={onlyOne() ? t.wallet.connect : t.wallet.choose} onClose={onClose}>
      <WalletList onDone={onClose} atOnce />
      <p class="row end">
        <button type="button" class="button" onClick={onClose}>
          {t.cancel}
        </button>
      </p>
    </Dialog>
  )
}

/** The wallet that there is, where nobody has to be asked which. */
const onlyOne = () => (wallets.value.length === 1 ? wallets.value[0] : undefined)

/** atOnce: the person has just asked for it, so the only one is connected without another click. */
function WalletList({ onDone, atOnce }: { onDone?: () => void; atOnce?: boolean }) {
  const problem = useSignal('')
  const busy = useSignal('')
  const pick = async (found: Found) => {
    problem.value = ''
    busy.value = found.info.uuid
    try {
      await connect(found)
      onDone?.()
    } catch (error) {
      problem.value = message(error)
    } finally {
      busy.value = ''
    }
  }
  const only = onlyOne()
  useEffect(() => {
    if (atOnce && only) void pick(only)
  }, [])
  if (!wallets.value.length)
    return (
      <Notice>
        <p>{t.wallet.none}</p>
      </Notice>
    )
  return (
    <>
      <ul class="wallets">
        {wallets.value.map((found) => (
          <li key={found.info.uuid}>
            <button
              type="button"
              class={`button wide ${only ? 'primary' : ''}`}
              aria-busy={busy.value === found.info.uuid}
              onClick={() => pick(found)}
            >
              {found.info.icon && <img src={found.info.icon} alt="" width="24" height="24" />}{' '}
              {only ? t.wallet.connect : found.info.name}
            </button>
          </li>
        ))}
      </ul>
      {problem.value && (
        <p class="error" role="alert">
          {problem.value}
        </p>
      )}
    </>
  )
}

interface GateProps {
  why: string
  children: ComponentChildren
}

/** What needs a wallet, once there is one. atOnce: see WalletList. */
export function NeedsWallet({ why, children, atOnce }: GateProps & { atOnce?: boolean }) {
  if (account.value) return <>{children}</>
  return (
    <div class="gate card">
      <h2>{t.wallet.connect}</h2>
      <p>{why}</p>
      <WalletList atOnce={atOnce} />
    </div>
  )
}

/** What needs a login at the node, once there is one. */
export function NeedsLogin({ why, children }: GateProps) {
  const there = useComputed(signedIn)
  return (
    <NeedsWallet why={why}>
      {there.value ? (
        children
      ) : (
        <div class="gate card">
          <h2>{t.wallet.signIn}</h2>
          <p>{why}</p>
          <p class="quiet">{t.wallet.signInNote}</p>
          <p>
            <Action label={t.wallet.signIn} run={signIn} kind="primary" />
          </p>
        </div>
      )}
    </NeedsWallet>
  )
}

export function NetworkBanner() {
  const wrong = useComputed(wrongNetwork)
  if (!wrong.value) return null
  return (
    <div class="banner" role="status">
      <span>{t.wallet.wrongNetwork(facts().chain.title)}</span>
      <Action label={t.wallet.switch(facts().chain.title)} run={switchNetwork} />
    </div>
  )
}
