/** Receipts of the signed-in wallet, and their proof against the chain: the node's word isn't taken for it. */

import { type Address, concat, type Hex, keccak256, toHex } from 'viem'
import { strings as t } from '../strings'
import { canonicalBytes, type Json } from './canonical'
import { idOfDid } from './did'
import { api } from './node'
import { events, type Log } from './rpc'

export interface Receipt {
  id: string
  receipt: {
    did: string
    plan_id: Hex
    node: Address
    credits: string
    time: number
    usage: Record<string, number> | null
    [name: string]: unknown
  }
  settlement: { batch?: number; block?: number | null; state?: string } | null
}

interface Proof {
  receipt: Receipt['receipt']
  index: number
  size: number
  path: Hex[]
  root: Hex
  batch: number
}

const PAGE = 100

/** The newest ones, at most `most`. */
export async function receipts(most: number): Promise<Receipt[]> {
  const found: Receipt[] = []
  for (let after = ''; found.length < most; ) {
    const page = await api<{ data: Receipt[]; has_more: boolean; last_id: string }>(
      'GET',
      `v1/receipts?limit=${Math.min(PAGE, most)}${after ? `&after=${after}` : ''}`,
    )
    found.push(...page.data)
    if (!page.has_more) break
    after = page.last_id
  }
  return found
}

/** Where the chain has the receipt. Raises Error in words where it doesn't. block: where to look first. */
export async function prove(id: string, block?: number | null): Promise<{ batch: number; block: number; tx: Hex }> {
  const proof = await api<Proof>('GET', `v1/receipts/${id}/proof`)
  const { receipt } = proof
  const leaf = keccak256(concat(['0x00', toHex(canonicalBytes(receipt as unknown as Json))]))
  if (receipt.id !== id || rootOf(leaf, proof.index, proof.size, proof.path) !== proof.root)
    throw new Error(t.usage.badPath)
  const about = { did: idOfDid(receipt.did), planId: receipt.plan_id, node: receipt.node }
  const settled = await settlementOf(about, proof.batch, block)
  if (!settled) throw new Error(t.usage.notThere)
  if (settled.args.receiptsRoot !== proof.root || Number(settled.args.calls) !== proof.size)
    throw new Error(t.usage.badRoot)
  return { batch: proof.batch, block: settled.block, tx: settled.tx }
}

/** The event of a batch: in the block that the node names, else wherever it is. */
async function settlementOf(about: Record<string, unknown>, batch: number, block?: number | null) {
  const here = (one: Log) => Number(one.args.batch) === batch
  const near = block ? await events('PlanRegistry', 'Settled', about, { from: block, to: block }) : []
  return near.find(here) ?? (await events('PlanRegistry', 'Settled', about)).find(here)
}

/** The root that a path leads to, as nvm_chain/merkle.py has it; null where no tree of this size has such a path. */
export function rootOf(leaf: Hex, index: number, size: number, path: Hex[]): Hex | null {
  if (!(Number.isSafeInteger(index) && index >= 0 && index < size && size <= 2 ** 40)) return null
  const hashes = [...path]
  let node = leaf
  for (let at = index, count = size; count > 1; at = Math.floor(at / 2), count = Math.ceil(count / 2)) {
    const sibling = at % 2 ? at - 1 : at + 1
    if (sibling >= count) continue
    const other = hashes.shift()
    if (other?.length !== 66) return null
    node = keccak256(concat(at % 2 ? ['0x01', other, node] : ['0x01', node, other]))
  }
  return hashes.length ? null : node
}
