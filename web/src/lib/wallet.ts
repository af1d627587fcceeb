/** Wallets in this browser: EIP-6963 finds them, EIP-1193 talks to them. */

import { signal } from '@preact/signals'
import { type Address, getAddress, type Hex } from 'viem'
import { strings as t } from '../strings'
import { facts } from './node'
import { hex } from './rpc'

export interface Provider {
  request(args: { method: string; params?: unknown }): Promise<unknown>
  on?(event: string, listener: (value: any) => void): void
  removeListener?(event: string, listener: (value: any) => void): void
}

export interface Found {
  info: { uuid: string; name: string; icon: string; rdns: string }
  provider: Provider
}

/** The person at the wallet said no. */
export class Rejected extends Error {
  constructor() {
    super(t.errors.rejected)
  }
}

/** The wallet couldn't do what it was asked for. */
export class WalletFailed extends Error {}

const LAST = 'nvm.wallet'

export const wallets = signal<Found[]>([])
export const connected = signal<Found | null>(null)
export const account = signal<Address | null>(null)
export const chainId = signal<number | null>(null)

/** Listens for wallets that announce themselves, and connects again to the one that was used last. */
export function startWallets() {
  window.addEventListener('eip6963:announceProvider', (event) => {
    const { info, provider } = (event as CustomEvent<Found>).detail ?? {}
    if (!info?.uuid || !provider || wallets.value.some((one) => one.info.uuid === info.uuid)) return
    const safe = /^data:image\/(png|svg\+xml|webp|gif|jpeg)[;,]/.test(info.icon ?? '') ? info.icon : ''
    const found = { info: { ...info, icon: safe }, provider }
    wallets.value = [...wallets.value, found]
    if (!connected.value && recall() === info.rdns) void resume(found)
  })
  window.dispatchEvent(new Event('eip6963:requestProvider'))
}

export function hasInjected(): Provider | null {
  return ((window as any).ethereum as Provider | undefined) ?? null
}

export async function connect(found: Found): Promise<void> {
  const accounts = await ask<Address[]>(found.provider, 'eth_requestAccounts')
  await use(found, accounts)
}

async function resume(found: Found) {
  try {
    const accounts = await ask<Address[]>(found.provider, 'eth_accounts')
    if (accounts.length && !connected.value) await use(found, accounts)
  } catch {
    // Nothing is lost: the person can connect by hand.
  }
}

async function use(found: Found, accounts: Address[]) {
  if (!accounts[0]) throw new WalletFailed(t.errors.noAccount)
  disconnect()
  connected.value = found
  account.value = getAddress(accounts[0])
  remember(found.info.rdns)
  found.provider.on?.('accountsChanged', onAccounts)
  found.provider.on?.('chainChanged', onChain)
  found.provider.on?.('disconnect', onDisconnect)
  chainId.value = Number(await ask<Hex>(found.provider, 'eth_chainId'))
}

export function disconnect() {
  const provider = connected.value?.provider
  provider?.removeListener?.('accountsChanged', onAccounts)
  provider?.removeListener?.('chainChanged', onChain)
  provider?.removeListener?.('disconnect', onDisconnect)
  connected.value = account.value = chainId.value = null
  remember('')
}

function onAccounts(accounts: Address[]) {
  if (accounts[0]) account.value = getAddress(accounts[0])
  else disconnect()
}

function onChain(id: Hex) {
  chainId.value = Number(id)
}

function onDisconnect(error: { code?: number } | undefined) {
  // 1013: the wallet lost its chain and will find it again.
  if (error?.code !== 1013) disconnect()
}

/** Asks the wallet which network it is on: not every wallet says when that changes. */
export async function lookAtNetwork(): Promise<void> {
  chainId.value = Number(await ask<Hex>(current(), 'eth_chainId'))
}

export const wrongNetwork = () => chainId.value !== null && chainId.value !== facts().chain.id

/** Asks the wallet to go to the node's chain, and to learn it where it doesn't know it. */
export async function switchNetwork(): Promise<void> {
  const provider = current()
  const { id, title, currency, rpc_url, explorer } = facts().chain
  try {
    await ask(provider, 'wallet_switchEthereumChain', [{ chainId: hex(id) }])
  } catch (error) {
    if (error instanceof Rejected || !rpc_url) throw error
    await ask(provider, 'wallet_addEthereumChain', [
      {
        chainId: hex(id),
        chainName: title,
        nativeCurrency: { name: currency, symbol: currency, decimals: 18 },
        rpcUrls: [rpc_url],
        ...(explorer ? { blockExplorerUrls: [explorer] } : {}),
      },
    ])
  }
  await lookAtNetwork()
  if (wrongNetwork()) throw new WalletFailed(t.errors.stillWrongNetwork(title))
}

export async function signMessage(from: Address, message: string): Promise<Hex> {
  const bytes = new TextEncoder().encode(message)
  const data = `0x${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`
  return await ask<Hex>(current(), 'personal_sign', [data, from])
}

/** The domain of all that is signed here as typed data. */
export const EIP712Domain = [
  { name: 'name', type: 'string' },
  { name: 'version', type: 'string' },
  { name: 'chainId', type: 'uint256' },
  { name: 'verifyingContract', type: 'address' },
]

export async function signTypedData(from: Address, typed: unknown): Promise<Hex> {
  return await ask<Hex>(current(), 'eth_signTypedData_v4', [from, JSON.stringify(typed)])
}

export async function sendTransaction(from: Address, tx: Record<string, unknown>): Promise<Hex> {
  return await ask<Hex>(current(), 'eth_sendTransaction', [{ from, ...tx }])
}

function current(): Provider {
  if (!connected.value) throw new WalletFailed(t.errors.notConnected)
  return connected.value.provider
}

async function ask<T>(provider: Provider, method: string, params: unknown[] = []): Promise<T> {
  try {
    return (await provider.request({ method, params })) as T
  } catch (error) {
    const { code, message, data } = (error ?? {}) as { code?: number; message?: string; data?: any }
    const inner = data?.originalError?.code
    if (code === 4001 || inner === 4001 || message === 'User rejected the request.') throw new Rejected()
    if (code === -32002) throw new WalletFailed(t.errors.walletBusy)
    const failed = new WalletFailed(t.errors.wallet(message ?? t.errors.noReason))
    failed.cause = error
    throw failed
  }
}

function recall(): string {
  return localStorage.getItem(LAST) ?? ''
}

function remember(rdns: string) {
  if (rdns) localStorage.setItem(LAST, rdns)
  else localStorage.removeItem(LAST)
}
