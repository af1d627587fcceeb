/** Reads of the chain through the node, and what the contracts refuse in plain words. */

import { signal } from '@preact/signals'
import {
  type Abi,
  type Address,
  type ContractFunctionArgs,
  type ContractFunctionName,
  type ContractFunctionReturnType,
  decodeErrorResult,
  decodeEventLog,
  decodeFunctionResult,
  encodeEventTopics,
  encodeFunctionData,
  type Hex,
} from 'viem'
import * as abis from '../generated/abi'
import { strings as t } from '../strings'
import { api, facts, NodeFailed } from './node'

/** The chain's endpoint answered with an error. data: what a contract reverted with. */
export class RpcFailed extends Error {
  constructor(
    message: string,
    readonly code: number,
    readonly data?: Hex,
  ) {
    super(message)
  }
}

/** A contract refused. name: of its error; args: as it gave them. */
export class Refused extends Error {
  constructor(
    readonly errorName: string,
    readonly args: readonly unknown[],
  ) {
    const words = t.refusals[errorName as keyof typeof t.refusals] ?? t.errors.refused(errorName)
    // What it says in words of its own; numbers and accounts mean nothing without their names.
    const reason = args.find((one) => typeof one === 'string' && !one.startsWith('0x'))
    super(reason ? t.errors.because(words, String(reason)) : words)
  }
}

let number = 0
export async function rpc<T>(method: string, params: unknown[] = []): Promise<T> {
  const answer = await api<{ result: T; error?: { code: number; message: string; data?: Hex } }>('POST', 'rpc', {
    jsonrpc: '2.0',
    id: ++number,
    method,
    params,
  })
  if (answer.error) throw new RpcFailed(answer.error.message, answer.error.code, answer.error.data)
  return answer.result
}

const ERRORS = Object.values(abis).flatMap((abi) => abi.filter((item) => item.type === 'error')) as unknown as Abi

/** The contract's reason in what an endpoint or a wallet raised, or the error as it is. */
export function explained(error: unknown): unknown {
  const data = revertData(error)
  if (!data) return error
  try {
    const found = decodeErrorResult({ abi: ERRORS, data })
    return new Refused(found.errorName, (found.args ?? []) as readonly unknown[])
  } catch {
    return error
  }
}

function revertData(error: unknown): Hex | null {
  for (let at = error as any, depth = 0; at && depth < 5; at = at.data?.originalError ?? at.data ?? at.cause, depth++) {
    if (typeof at === 'string' && /^0x[0-9a-f]{8,}$/i.test(at)) return at as Hex
    if (typeof at?.data === 'string' && /^0x[0-9a-f]{8,}$/i.test(at.data)) return at.data
  }
  return null
}

export interface Call {
  to: Address
  data: Hex
  value?: bigint
}

export function call<const abi extends Abi, name extends ContractFunctionName<abi, 'nonpayable' | 'payable'>>(
  to: Address,
  abi: abi,
  functionName: name,
  args: ContractFunctionArgs<abi, 'nonpayable' | 'payable', name>,
  value = 0n,
): Call {
  return { to, data: encodeFunctionData({ abi, functionName, args } as any), value }
}

export async function read<const abi extends Abi, name extends ContractFunctionName<abi, 'pure' | 'view'>>(
  to: Address,
  abi: abi,
  functionName: name,
  args: ContractFunctionArgs<abi, 'pure' | 'view', name>,
): Promise<ContractFunctionReturnType<abi, 'pure' | 'view', name>> {
  const data = encodeFunctionData({ abi, functionName, args } as any)
  const raw = await simulate({ to, data })
  return decodeFunctionResult({ abi, functionName, data: raw } as any) as any
}

/** What a transaction would return. Raises Refused, RpcFailed. */
export async function simulate(one: Call, from?: Address): Promise<Hex> {
  try {
    return await rpc<Hex>('eth_call', [request(one, from), 'latest'])
  } catch (error) {
    throw explained(error)
  }
}

export async function estimateGas(one: Call, from: Address): Promise<bigint> {
  try {
    return BigInt(await rpc<Hex>('eth_estimateGas', [request(one, from)]))
  } catch (error) {
    throw explained(error)
  }
}

function request(one: Call, from?: Address) {
  return { to: one.to, data: one.data, ...(one.value ? { value: hex(one.value) } : {}), ...(from ? { from } : {}) }
}

export const hex = (value: bigint | number): Hex => `0x${value.toString(16)}`

export interface Log {
  name: string
  args: Record<string, any>
  block: number
  tx: Hex
}

/** Blocks that one look for events spans; the node takes 100 pieces of 10,000 at its own endpoint. */
const MOST_BLOCKS = 1_000_000
/** What the node takes: less, where its endpoint takes less. */
let most = MOST_BLOCKS
const FEWEST_BLOCKS = 10_000
/** The newest blocks are looked through again each time: they may be replaced. */
const UNSETTLED = 1_000
/** JSON-RPC's code of an answer that would take too much. */
const TOO_MUCH = -32005
/** How often in a row a search waits a second for the node's patience. */
const MOST_WAITS = 30

/** Blocks looked through and to look through, of all searches that run now. */
const searching = signal({ done: 0, of: 0 })

/** How far the searches are, in percent; null where they take a moment only. */
export function searchedPercent(): number | null {
  const { done, of } = searching.value
  return of > 3 * MOST_BLOCKS ? Math.floor((done * 100) / of) : null
}

/** What was found of each search in blocks that stay as they are, and the block to go on from. */
const searched = new Map<string, { next: number; logs: Log[] }>()

interface Range {
  from?: number
  to?: number
}

/** Events of PlanRegistry or AssetRegistry whose indexed values are as given, oldest first, in pieces that the node takes.
 * Without a range: since the deployment; what was found before isn't looked for again. Raises RpcFailed. */
export async function events(
  of: 'PlanRegistry' | 'AssetRegistry',
  name: string,
  args: Record<string, unknown>,
  range: Range = {},
): Promise<Log[]> {
  const { contracts, from_block } = facts()
  const address = of === 'PlanRegistry' ? contracts.plan_registry : contracts.asset_registry
  const abi = abis[of] as unknown as Abi
  const topics = encodeEventTopics({ abi, eventName: name, args } as any)
  const key = JSON.stringify([address, topics])
  const before = (range.from === undefined && searched.get(key)) || { next: range.from ?? from_block, logs: [] }
  const last = range.to ?? Number(await rpc<Hex>('eth_blockNumber'))
  const found = [...before.logs]
  await inPieces(before.next, last, async (from, to) => {
    const query = { address, topics, fromBlock: hex(from), toBlock: to === last && !range.to ? 'latest' : hex(to) }
    for (const log of await rpc<any[]>('eth_getLogs', [query])) {
      const event = decodeEventLog({ abi, data: log.data, topics: log.topics }) as any
      found.push({ name: event.eventName, args: event.args, block: Number(log.blockNumber), tx: log.transactionHash })
    }
  })
  if (range.from === undefined && range.to === undefined) {
    const next = Math.max(before.next, last - UNSETTLED)
    searched.set(key, { next, logs: found.filter((log) => log.block < next) })
  }
  return found
}

/** Calls `look` for all blocks, in ranges that shrink where they are too much. */
async function inPieces(first: number, last: number, look: (from: number, to: number) => Promise<void>) {
  const blocks = Math.max(0, last - first + 1)
  const advance = (done: number, of: number) => {
    const now = searching.value
    searching.value = now.of + of === now.done + done ? { done: 0, of: 0 } : { done: now.done + done, of: now.of + of }
  }
  let at = first
  let waits = 0
  advance(0, blocks)
  try {
    do {
      const to = Math.min(last, at + most - 1)
      try {
        await look(at, to)
      } catch (error) {
        const tried = to - at + 1
        if (error instanceof NodeFailed && error.status === 429 && ++waits <= MOST_WAITS) {
          await new Promise((resolve) => setTimeout(resolve, 1000))
          continue
        }
        if (!(error instanceof RpcFailed) || error.code !== TOO_MUCH || tried <= FEWEST_BLOCKS) throw error
        // Another search may have found out before.
        most = Math.min(most, Math.max(FEWEST_BLOCKS, Math.floor(tried / 4)))
        continue
      }
      advance(Math.max(0, to - at + 1), 0)
      at = to + 1
      waits = 0
    } while (at <= last)
  } finally {
    // What a failure left undone is no longer to do.
    advance(0, Math.min(0, at - last - 1))
  }
}

export interface Head {
  number: number
  timestamp: number
  baseFee: bigint | null
}

export async function head(): Promise<Head> {
  const block = await rpc<any>('eth_getBlockByNumber', ['latest', false])
  return {
    number: Number(block.number),
    timestamp: Number(block.timestamp),
    baseFee: block.baseFeePerGas ? BigInt(block.baseFeePerGas) : null,
  }
}
