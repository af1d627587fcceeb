/** Creating plans and assistants: seal, metadata, store, chain. Each can be repeated; the same salt finds the same. */

import type { Address, Hex } from 'viem'
import { AssetRegistry, PlanRegistry } from '../generated/abi'
import { strings as t } from '../strings'
import {
  type Asset,
  accessNode,
  asset,
  metadataOf,
  type Plan,
  plan,
  planText,
  putBlock,
  ruleAt,
  type Terms,
} from './chain'
import type { Definition } from './definition'
import { type Did, didOf, idOf } from './did'
import { type Metadata, metadataBlock, planBlock } from './metadata'
import { facts } from './node'
import { call, head, Refused, simulate } from './rpc'
import { signIn } from './session'
import { transact } from './tx'
import { account } from './wallet'

export interface PlanDraft {
  salt: Hex
  title: string
  description: string
  terms: Terms
  payees: { account: Address; basisPoints: number }[]
}

/** Creates the plan, or finds it created. Returns its id. */
export async function createPlan(draft: PlanDraft, effects: string[], onStep: (step: number) => void): Promise<Hex> {
  const { chain, contracts } = facts()
  const owner = account.value as Address
  const id = idOf(chain.id, contracts.plan_registry, owner, draft.salt)
  if (await known(() => plan(id))) return id
  onStep(0)
  await signIn()
  const block = await planBlock(draft.title, draft.description)
  const made = call(contracts.plan_registry, PlanRegistry, 'createPlan', [
    draft.salt,
    draft.terms,
    draft.payees,
    block.digest,
  ])
  await simulate(made, owner)
  onStep(1)
  await putBlock(block)
  onStep(2)
  await transact({ title: t.plan.create, effects, from: owner, call: made, tag: `plan:${id}` })
  return id
}

export interface AssetDraft {
  salt: Hex
  title: string
  description: string
  tags: string[]
  notes: string
  offers: { planId: Hex; title: string; min: number; max: number }[]
  nodes: Address[]
}

/** Registers the assistant, or finds it registered. The definition, and with it the token, goes nowhere but into the
 * ciphertext. */
export async function registerAsset(
  draft: AssetDraft,
  makeDefinition: () => Definition,
  onStep: (step: number, did: Did) => void,
): Promise<Did> {
  const { chain, contracts } = facts()
  const owner = account.value as Address
  const did = didOf(idOf(chain.id, contracts.asset_registry, owner, draft.salt))
  if (await known(() => asset(did))) return did
  onStep(0, did)
  await signIn()
  const nodes = await usable(draft.nodes)
  onStep(1, did)
  const sealed = await sealFor(did, owner, makeDefinition, nodes)
  const now = (await head()).timestamp
  const block = await metadataBlock({
    ...draft,
    did,
    chainId: chain.id,
    registry: contracts.asset_registry,
    owner,
    offers: draft.offers.map((offer) => ({ plan: offer.planId, title: offer.title, min: offer.min, max: offer.max })),
    services: nodes.map((node) => ({ node: node.account, endpoint: node.endpoint })),
    sealed,
    created: now,
    updated: now,
  })
  const made = call(contracts.asset_registry, AssetRegistry, 'register', [
    draft.salt,
    block.digest,
    draft.offers.map((offer) => ({ planId: offer.planId, min: BigInt(offer.min), max: BigInt(offer.max) })),
    nodes.map((node) => node.account),
  ])
  await simulate(made, owner)
  onStep(2, did)
  await putBlock(block)
  onStep(3, did)
  await transact({
    title: t.wizard.register,
    effects: [
      t.wizard.effects.register(draft.title),
      ...draft.offers.map((offer) => t.wizard.effects.opens(offer.title)),
    ],
    from: owner,
    call: made,
    tag: `asset:${did}`,
  })
  return did
}

export interface Changes {
  title?: string
  description?: string
  tags?: string[]
  notes?: string
  definition?: Definition
}

/** Publishes a new version of an assistant's metadata; with a definition it is sealed anew to its nodes' keys today. */
export async function publishVersion(one: Asset, changes: Changes, title: string, effects: string[]): Promise<void> {
  const { contracts } = facts()
  const owner = account.value as Address
  const old = await metadataOf(one)
  if (!old) throw new Error(t.errors.noMetadata)
  await signIn()
  const { definition, ...texts } = changes
  const now = (await head()).timestamp
  const serving = await usable(one.nodes.filter((node) => node.active && node.until > now).map((node) => node.account))
  const offers = []
  for (const { offer, plan } of one.offers) {
    const rule = ruleAt(offer, now)
    if (rule)
      offers.push({
        plan: offer.planId,
        title: (await planText(plan).catch(() => null))?.title ?? '',
        min: Number(rule.min),
        max: Number(rule.max),
      })
  }
  const next: Metadata = {
    ...old,
    ...texts,
    owner,
    offers,
    services: serving.map((node) => ({ node: node.account, endpoint: node.endpoint })),
    sealed: definition ? await sealFor(one.did, owner, () => definition, serving) : old.sealed,
    updated: Math.max(now, old.updated),
  }
  const block = await metadataBlock(next)
  const made = call(contracts.asset_registry, AssetRegistry, 'setMetadata', [`0x${one.did.slice(7)}`, block.digest])
  await simulate(made, owner)
  await putBlock(block)
  await transact({ title, effects, from: owner, call: made })
}

async function usable(accounts: Address[]) {
  const nodes = await Promise.all(accounts.map(accessNode))
  const bad = nodes.find((node) => !node.active)
  if (bad || !nodes.length) throw new Error(t.errors.nodeNotUsable(bad?.account ?? ''))
  return nodes.map((node) => ({ ...node, endpoint: node.endpoint.replace(/\/+$/, '') }))
}

async function sealFor(
  did: Did,
  owner: Address,
  makeDefinition: () => Definition,
  nodes: Awaited<ReturnType<typeof usable>>,
) {
  const { seal } = await import('./sealing') // a third of the console, which most pages never need
  const { chain, contracts } = facts()
  const definition = makeDefinition()
  return nodes.map((node) => {
    const binding = {
      did,
      owner,
      chain_id: chain.id,
      registry: contracts.asset_registry,
      node: node.account,
      key_version: node.version,
      expires: 0,
    }
    const ciphertext = seal(definition, binding, node.key)
    return { v: 1 as const, node: node.account, key_version: node.version, ciphertext }
  })
}

async function known(read: () => Promise<Plan | Asset>): Promise<boolean> {
  try {
    await read()
    return true
  } catch (error) {
    if (error instanceof Refused && ['PlanUnknown', 'AssetUnknown'].includes(error.errorName)) return false
    throw error
  }
}
