/** Transactions: simulated first, shown with what they do and cost, followed until they are in a block. */

import { computed, effect, signal } from '@preact/signals'
import type { Address, Hex } from 'viem'
import { strings as t } from '../strings'
import { aboutUnits, formatUnits } from './amounts'
import { facts } from './node'
import { type Call, estimateGas, head, hex, Refused, RpcFailed, rpc, simulate } from './rpc'
import { account, lookAtNetwork, Rejected, sendTransaction, switchNetwork, WalletFailed, wrongNetwork } from './wallet'

/** What the wallet is about to sign, for the person who signs it. from: the account that it was made for. */
interface Question {
  title: string
  effects: string[]
  from: Address
}

/** A transaction. */
export interface Intent extends Question {
  call: Call
  /** What it pays in a token, in words; the chain's own currency is in the call. */
  pays?: string
  /** Kept with the hash, to find it again after a reload; nothing secret. */
  tag?: string
}

export interface Shown {
  title: string
  effects: string[]
  /** What the button says that goes on to the wallet. */
  go: string
  /** failed: it would fail; unknown: nobody could say. */
  step: 'checking' | 'ready' | 'wallet' | 'failed' | 'unknown'
  costs: [string, string][]
  problem: string
  answer: (go: boolean) => void
  /** Simulates it once more. */
  again: () => void
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
const POOR = /insufficient funds|insufficient balance/i
const REVERTED = /revert/i

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
  const { call, from } = intent
  const hash = await ask(
    intent,
    t.tx.go,
    () => price(intent),
    async () => {
      const gas = ((await estimateGas(call, from)) * 5n) / 4n
      mine(from)
      // With the chain's id, a wallet that is elsewhere by now refuses.
      const chainId = hex(facts().chain.id)
      const fields = { to: call.to, data: call.data, value: hex(call.value ?? 0n), gas: hex(gas), chainId }
      return await sendTransaction(from, fields)
    },
  )
  note({ hash, title: intent.title, tag: intent.tag ?? '', at: Date.now(), state: 'pending' })
  await follow(hash)
  return hash
}

/** The same for what was made, just now, for the account that is there. */
export async function transactNow(intent: Omit<Intent, 'from'>): Promise<Hex> {
  return await transact({ ...intent, from: account.value as Address })
}

/** Says what a signature is for, and asks the wallet for it if the person agrees. Raises Rejected. */
export async function consent<T>(question: Question, sign: () => Promise<T>): Promise<T> {
  return await ask(question, t.tx.sign, async () => [], sign)
}

/** The dialog, then the wallet: by the account and on the network that it was made for, before and after. */
async function ask<T>(
  question: Question,
  go: string,
  check: () => Promise<[string, string][]>,
  send: () => Promise<T>,
): Promise<T> {
  mine(question.from)
  if (wrongNetwork()) await switchNetwork()
  if (!(await confirm(question, go, check))) throw new Rejected()
  try {
    mine(question.from)
    asking.value = asking.value && { ...asking.value, step: 'wallet' }
    await lookAtNetwork()
    if (wrongNetwork()) await switchNetwork()
    mine(question.from)
    return await send()
  } finally {
    asking.value = null
  }
}

/** Raises WalletFailed where another account is there than the one that it was made for. */
function mine(from: Address) {
  if (account.value !== from) throw new WalletFailed(t.errors.otherAccount)
}

/** The person's answer. Raises WalletFailed as soon as another account is there. */
function confirm({ title, effects, from }: Question, go: string, check: () => Promise<[string, string][]>) {
  let stop = () => {}
  const answered = new Promise<boolean>((resolve, reject) => {
    const show = (change: Partial<Shown>) => {
      const shown = { title, effects, go, step: 'checking' as const, costs: [], problem: '', answer, again, ...change }
      asking.value = shown
      return shown
    }
    const answer = (yes: boolean) => {
      if (!yes) asking.value = null
      resolve(yes)
    }
    const again = () => {
      const shown = show({})
      check().then(
        (costs) => asking.value === shown && show({ step: 'ready', costs }),
        (error) =>
          asking.value === shown && show({ step: wouldFail(error) ? 'failed' : 'unknown', problem: message(error) }),
      )
    }
    again()
    stop = effect(() => {
      if (account.value === from) return
      asking.value = null
      reject(new WalletFailed(t.errors.otherAccount))
    })
  })
  return answered.finally(() => stop())
}

/** Whether an error is about the transaction; any other says that nobody could be asked. */
function wouldFail(error: unknown): boolean {
  if (error instanceof Refused || error instanceof TooPoor) return true
  return error instanceof RpcFailed && (POOR.test(error.message) || REVERTED.test(error.message))
}

/** Simulates it, and what it costs at most. Raises Refused, TooPoor. */
async function price({ call, from, pays }: Intent): Promise<[string, string][]> {
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
    [t.tx.pays, pays ?? (value ? `${formatUnits(value, 18)} ${symbol}` : t.tx.nothing)],
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
  if (error instanceof RpcFailed && POOR.test(error.message)) return t.errors.poor
  if (error instanceof RpcFailed && REVERTED.test(error.message)) return t.errors.noReasonGiven
  if (error instanceof RpcFailed) return t.errors.chain(error.message)
  if (error instanceof Error) return error.message
  return t.errors.unknown
}
