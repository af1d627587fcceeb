/** Transactions: simulated first, shown with what they do and cost, followed until they are in a block. */

import { computed, signal } from '@preact/signals'
import type { Hex } from 'viem'
import { strings as t } from '../strings'
import { aboutUnits, formatUnits } from './amounts'
import { facts } from './node'
import { type Call, estimateGas, head, hex, RpcFailed, rpc, simulate } from './rpc'
import { account, Rejected, sendTransaction, switchNetwork, wrongNetwork } from './wallet'

/** What a transaction does, for the person who signs it. */
export interface Intent {
  title: string
  effects: string[]
  call: Call
  /** Kept with the hash, to find it again after a reload; nothing secret. */
  tag?: string
}

export interface Shown {
  intent: Intent
  step: 'checking' | 'ready' | 'wallet' | 'failed'
  costs: [string, string][]
  problem: string
  answer: (go: boolean) => void
}

export interface Sent {
  hash: Hex
  title: string
  tag: string
  at: number
  state: 'pending' | 'confirmed' | 'reverted' | 'replaced'
}

const KEY = 'nvm.transactions'
/** Looks, about five seconds apart, after which a transaction that nobody knows counts as replaced or dropped. */
const MISSING = 12

export const asking = signal<Shown | null>(null)
export const sent = signal<Sent[]>([])

/** How many are in a block: what pages that show the chain's state load again for. */
export const confirmed = computed(() => sent.value.filter((one) => one.state === 'confirmed').length)

/** The transaction was mined but its contract refused. */
export class Reverted extends Error {}

/** Not enough money; in words. */
export class TooPoor extends Error {}

/** Shows the transaction, and sends it if the person agrees. Resolves once it is in a block. Raises Rejected. */
export async function transact(intent: Intent): Promise<Hex> {
  if (wrongNetwork()) await switchNetwork()
  const go = await confirm(intent)
  if (!go) throw new Rejected()
  try {
    asking.value = asking.value && { ...asking.value, step: 'wallet' }
    const { call } = intent
    const gas = ((await estimateGas(call, account.value as Hex)) * 5n) / 4n
    const hash = await sendTransaction({ to: call.to, data: call.data, value: hex(call.value ?? 0n), gas: hex(gas) })
    note({ hash, title: intent.title, tag: intent.tag ?? '', at: Date.now(), state: 'pending' })
    asking.value = null
    await follow(hash)
    return hash
  } finally {
    asking.value = null
  }
}

function confirm(intent: Intent): Promise<boolean> {
  return new Promise((resolve) => {
    const answer = (go: boolean) => {
      if (!go) asking.value = null
      resolve(go)
    }
    const shown: Shown = { intent, step: 'checking', costs: [], problem: '', answer }
    asking.value = shown
    price(intent.call).then(
      (costs) => {
        if (asking.value === shown) asking.value = { ...shown, step: 'ready', costs }
      },
      (error) => {
        if (asking.value === shown) asking.value = { ...shown, step: 'failed', problem: message(error) }
      },
    )
  })
}

/** Simulates it, and what it costs at most. Raises Refused, TooPoor. */
async function price(call: Call): Promise<[string, string][]> {
  const from = account.value as Hex
  const symbol = facts().chain.currency
  const value = call.value ?? 0n
  const balance = BigInt(await rpc<Hex>('eth_getBalance', [from, 'latest']))
  if (balance < value) throw new TooPoor(t.errors.tooPoor(formatUnits(value, 18), formatUnits(balance, 18), symbol))
  await simulate(call, from)
  const [gas, block] = await Promise.all([estimateGas(call, from), head()])
  const tip = BigInt(await rpc<Hex>('eth_maxPriorityFeePerGas').catch(() => '0x0'))
  const each = block.baseFee === null ? BigInt(await rpc<Hex>('eth_gasPrice')) : block.baseFee * 2n + tip
  const fee = gas * each
  if (balance < value + fee)
    throw new TooPoor(t.errors.tooPoor(aboutUnits(value + fee, 18), formatUnits(balance, 18), symbol))
  return [
    [t.tx.pays, value ? `${formatUnits(value, 18)} ${symbol}` : t.tx.nothing],
    [t.tx.fee, `${aboutUnits(fee, 18)} ${symbol}`],
  ]
}

/** Follows what was sent before the page was loaded again. */
export function startTransactions() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '[]') as Sent[]
    sent.value = kept.filter((one) => /^0x[0-9a-f]{64}$/.test(one.hash) && Date.now() - one.at < 86_400_000)
  } catch {
    sent.value = []
  }
  for (const one of sent.value) if (one.state === 'pending') follow(one.hash).catch(() => null)
}

const following = new Map<Hex, Promise<void>>()

/** Resolves once the transaction is in a block. Raises Reverted. */
export function follow(hash: Hex): Promise<void> {
  let found = following.get(hash)
  if (!found) {
    found = wait(hash)
    following.set(hash, found)
  }
  return found
}

async function wait(hash: Hex): Promise<void> {
  let missing = 0
  for (let pause = 400; ; pause = Math.min(pause * 1.4, 5000)) {
    const receipt = await rpc<{ status: Hex } | null>('eth_getTransactionReceipt', [hash]).catch(() => null)
    if (receipt) {
      const good = Number(receipt.status) === 1
      update(hash, good ? 'confirmed' : 'reverted')
      if (good) return
      throw new Reverted(t.errors.reverted)
    }
    const known = await rpc('eth_getTransactionByHash', [hash]).catch(() => true)
    missing = known ? 0 : missing + 1
    if (missing >= MISSING) {
      update(hash, 'replaced')
      throw new Reverted(t.errors.replaced)
    }
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
}

export function dismiss(hash: Hex) {
  sent.value = sent.value.filter((one) => one.hash !== hash)
  keep()
}

function note(one: Sent) {
  sent.value = [one, ...sent.value].slice(0, 20)
  keep()
}

function update(hash: Hex, state: Sent['state']) {
  sent.value = sent.value.map((one) => (one.hash === hash ? { ...one, state } : one))
  keep()
}

function keep() {
  localStorage.setItem(KEY, JSON.stringify(sent.value))
}

export function explorerLink(hash: string): string | null {
  const { explorer } = facts().chain
  return explorer ? `${explorer}/tx/${hash}` : null
}

/** Any error in words for the person at the screen. */
export function message(error: unknown): string {
  if (error instanceof RpcFailed && /insufficient funds|insufficient balance/i.test(error.message)) return t.errors.poor
  if (error instanceof RpcFailed) return t.errors.chain(error.message)
  if (error instanceof Error) return error.message
  return t.errors.unknown
}
