/** What the console reads of plans, assistants and nodes. */

import { type Address, erc20Abi, type Hex, zeroAddress } from 'viem'
import * as abis from '../generated/abi'
import { strings as t } from '../strings'
import { cidOf, digestOf } from './cid'
import { type Did, idOfDid } from './did'
import { type Metadata, readMetadata } from './metadata'
import { api, facts, NodeFailed, send } from './node'
import { events, read } from './rpc'

export interface Currency {
  token: Address | null
  symbol: string
  decimals: number
}

export interface Terms {
  token: Address
  price: bigint
  creditsPerUnit: bigint
  duration: number
  purchaseLimit: number
  supply: number
  refundCooldown: number
  voucherRequired: boolean
}

export interface Plan {
  id: Hex
  owner: Address
  pendingOwner: Address
  paused: boolean
  retired: boolean
  sold: number
  metadata: Hex
  revenue: bigint
  terms: Terms
}

export interface PlanText {
  title: string
  description: string
}

export interface Offer {
  planId: Hex
  min: bigint
  max: bigint
  nextMin: bigint
  nextMax: bigint
  effectiveAt: number
  closesAt: number
}

export interface Asset {
  did: Did
  owner: Address
  active: boolean
  version: number
  createdAt: number
  updatedAt: number
  digest: Hex
  cid: string
  offers: { offer: Offer; plan: Plan }[]
  nodes: { account: Address; until: number; active: boolean; version: number; endpoint: string }[]
}

export interface Standing {
  balance: bigint
  consumed: bigint
  expiry: number
  unitsBought: number
  spendable: bigint
  refundAvailableAt: bigint
  refundQuantity: bigint
  refundAmount: bigint
  timestamp: bigint
}

export interface AccessNode {
  account: Address
  active: boolean
  version: number
  key: { x: Hex; y: Hex }
  endpoint: string
}

export const isNative = (terms: { token: Address }) => terms.token === zeroAddress
export const isTimePlan = (terms: { creditsPerUnit: bigint }) => terms.creditsPerUnit === 0n
export const soldOut = (plan: Plan) => plan.terms.supply > 0 && plan.sold >= plan.terms.supply
export const onSale = (plan: Plan) => !plan.paused && !plan.retired && !soldOut(plan)

const currencies = new Map<string, Promise<Currency>>()

/** The currency of a plan; of a token that doesn't say, base units. */
export function currencyOf(token: Address | null): Promise<Currency> {
  const native = { token: null, symbol: facts().chain.currency, decimals: 18 }
  if (!token || token === zeroAddress) return Promise.resolve(native)
  let found = currencies.get(token)
  if (!found) {
    found = tokenCurrency(token)
    currencies.set(token, found)
    found.catch(() => currencies.delete(token))
  }
  return found
}

async function tokenCurrency(token: Address): Promise<Currency> {
  const [symbol, decimals] = await Promise.all([
    read(token, erc20Abi, 'symbol', []).catch(() => ''),
    read(token, erc20Abi, 'decimals', []),
  ])
  // A token's name is a stranger's text, shown beside amounts.
  const shown = /^[\w.+-]{1,12}$/.test(symbol) ? symbol : t.token(token.slice(0, 6))
  return { token, symbol: shown, decimals }
}

export async function plan(id: Hex): Promise<Plan> {
  const raw = await read(facts().contracts.plan_registry, abis.PlanRegistry, 'plan', [id])
  return { id, ...raw }
}

export async function planText(one: { metadata: Hex }): Promise<PlanText | null> {
  if (/^0x0+$/.test(one.metadata)) return null
  const block = await blockOf(one.metadata)
  if (!block) return null
  const d = JSON.parse(new TextDecoder().decode(block))
  return d?.type === 'plan' ? { title: d.title, description: d.description } : null
}

const blocks = new Map<Hex, Uint8Array<ArrayBuffer>>()

/** A block from the node, its digest computed here; null where the node has none, or serves another. */
export async function blockOf(digest: Hex): Promise<Uint8Array<ArrayBuffer> | null> {
  const known = blocks.get(digest)
  if (known) return known
  try {
    const bytes = new Uint8Array(await (await send('GET', `blocks/${cidOf(digest)}`)).arrayBuffer())
    if ((await digestOf(bytes)) !== digest) return null
    blocks.set(digest, bytes)
    return bytes
  } catch (error) {
    if (error instanceof NodeFailed && error.status === 404) return null
    throw error
  }
}

export async function putBlock(block: { bytes: Uint8Array<ArrayBuffer>; cid: string }): Promise<void> {
  const answer = await api<{ cid: string }>('PUT', 'blocks', block.bytes)
  if (answer.cid !== block.cid) throw new Error(t.errors.otherCid(answer.cid, block.cid))
}

export async function asset(did: Did): Promise<Asset> {
  const raw = await read(facts().contracts.lens, abis.Lens, 'describe', [idOfDid(did)])
  const { metadata: digest, ...record } = raw.asset
  return {
    did,
    ...record,
    digest,
    cid: cidOf(digest),
    offers: raw.offers.map(({ offer, plan }) => ({ offer, plan: { id: offer.planId, ...plan } })),
    nodes: raw.nodes.map(({ account, until, node }) => ({
      account,
      until,
      active: node.active,
      version: node.version,
      endpoint: node.endpoint,
    })),
  }
}

/** What the asset's metadata says, if its bytes are those that the chain names. */
export async function metadataOf(one: { did: Did; digest: Hex }): Promise<Metadata | null> {
  const block = await blockOf(one.digest)
  const found = block && readMetadata(block)
  return found && found.did === one.did && found.chainId === facts().chain.id ? found : null
}

/** The rule of an offer at a time; null once it is closed. */
export function ruleAt(offer: Offer, now: number): { min: bigint; max: bigint } | null {
  if (offer.closesAt && now >= offer.closesAt) return null
  if (offer.effectiveAt && now >= offer.effectiveAt) return { min: offer.nextMin, max: offer.nextMax }
  return { min: offer.min, max: offer.max }
}

export async function standings(plans: Hex[], subscriber: Address): Promise<Standing[]> {
  if (!plans.length) return []
  const who = plans.map(() => subscriber)
  const rows = await read(facts().contracts.lens, abis.Lens, 'accounts', [plans, who])
  return rows.map(({ account, ...rest }) => ({ ...account, ...rest }))
}

export async function accessNode(account: Address): Promise<AccessNode> {
  const { active, version, key, endpoint } = await read(facts().contracts.node_registry, abis.NodeRegistry, 'node', [
    account,
  ])
  return { account, active, version, key, endpoint }
}

/** Plans that the wallet owns now, newest first. */
export async function plansOf(owner: Address): Promise<Plan[]> {
  const found = await Promise.all([
    events('PlanRegistry', 'PlanCreated', { owner }),
    events('PlanRegistry', 'PlanTransferred', { to: owner }),
  ])
  const ids = [
    ...new Set(
      found
        .flat()
        .sort((a, b) => b.block - a.block)
        .map((log) => log.args.planId as Hex),
    ),
  ]
  const plans = await Promise.all(ids.map(plan))
  return plans.filter((one) => one.owner === owner)
}

/** Plans that the wallet ever held something of, newest first. */
export async function plansHeldBy(subscriber: Address): Promise<Hex[]> {
  const found = await Promise.all([
    events('PlanRegistry', 'Purchased', { subscriber }),
    events('PlanRegistry', 'Granted', { subscriber }),
  ])
  return [
    ...new Set(
      found
        .flat()
        .sort((a, b) => b.block - a.block)
        .map((log) => log.args.planId as Hex),
    ),
  ]
}

/** Assistants that the wallet owns now, newest first. */
export async function assetsOf(owner: Address): Promise<Asset[]> {
  const found = await Promise.all([
    events('AssetRegistry', 'AssetRegistered', { owner }),
    events('AssetRegistry', 'AssetTransferred', { to: owner }),
  ])
  const ids = [
    ...new Set(
      found
        .flat()
        .sort((a, b) => b.block - a.block)
        .map((log) => log.args.did as Hex),
    ),
  ]
  const assets = await Promise.all(ids.map((id) => asset(`did:nv:${id.slice(2)}`)))
  return assets.filter((one) => one.owner === owner)
}
