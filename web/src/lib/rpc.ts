/** Reads of the chain through the node, and what the contracts refuse in plain words. */

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
import { api, facts } from './node'

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
    super(t.refusals[errorName as keyof typeof t.refusals] ?? t.errors.refused(errorName))
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

/** Events of PlanRegistry or AssetRegistry whose indexed values are as given, oldest first. */
export async function events(of: 'PlanRegistry' | 'AssetRegistry', name: string, args: Record<string, unknown>) {
  const { contracts, from_block } = facts()
  const address = of === 'PlanRegistry' ? contracts.plan_registry : contracts.asset_registry
  const abi = abis[of] as unknown as Abi
  const topics = encodeEventTopics({ abi, eventName: name, args } as any)
  const found = await rpc<any[]>('eth_getLogs', [{ address, topics, fromBlock: hex(from_block), toBlock: 'latest' }])
  return found.map((log): Log => {
    const event = decodeEventLog({ abi, data: log.data, topics: log.topics }) as any
    return { name: event.eventName, args: event.args, block: Number(log.blockNumber), tx: log.transactionHash }
  })
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
