/** What owners do with their plans and assistants. */

import type { Address, Hex } from 'viem'
import { AssetRegistry, PlanRegistry } from '../generated/abi'
import { strings as t } from '../strings'
import type { Plan } from './chain'
import { type Did, idOfDid } from './did'
import { facts } from './node'
import { call, events, read } from './rpc'
import { transactNow } from './tx'
import { account } from './wallet'

const plans = () => facts().contracts.plan_registry
const assets = () => facts().contracts.asset_registry

export async function withdraw(plan: Plan, title: string, shown: string): Promise<void> {
  const made = call(plans(), PlanRegistry, 'withdraw', [plan.id, account.value as Address])
  await transactNow({ title: t.builder.withdrawTitle(title), effects: [t.builder.effects.withdraw(shown)], call: made })
}

export async function setPaused(plan: Plan, title: string, paused: boolean): Promise<void> {
  await transactNow({
    title: paused ? t.builder.pauseTitle(title) : t.builder.resumeTitle(title),
    effects: [paused ? t.builder.effects.pause : t.builder.effects.resume],
    call: call(plans(), PlanRegistry, 'setPaused', [plan.id, paused]),
  })
}

export async function retire(plan: Plan, title: string): Promise<void> {
  await transactNow({
    title: t.builder.retireTitle(title),
    effects: [t.builder.effects.retire],
    call: call(plans(), PlanRegistry, 'retire', [plan.id]),
  })
}

export async function grant(plan: Plan, title: string, to: Address, units: number, shown: string): Promise<void> {
  await transactNow({
    title: t.builder.grantTitle(title),
    effects: [t.builder.effects.grant(shown, units, to), t.buy.effects.free],
    call: call(plans(), PlanRegistry, 'grant', [plan.id, to, units]),
  })
}

export interface Rule {
  planId: Hex
  min: number
  max: number
}

const rule = (one: Rule) => ({ planId: one.planId, min: BigInt(one.min), max: BigInt(one.max) })

export async function changeOffer(did: Did, one: Rule, title: string, shown: string): Promise<void> {
  await transactNow({
    title: t.manage.changeTitle(title),
    effects: [t.manage.effects.change(shown), t.manage.effects.notice],
    call: call(assets(), AssetRegistry, 'changeOffer', [idOfDid(did), rule(one)]),
  })
}

export async function addOffer(did: Did, one: Rule, title: string, shown: string): Promise<void> {
  await transactNow({
    title: t.manage.addPlanTitle(title),
    effects: [t.wizard.effects.opens(title), t.asset.perAccess(shown)],
    call: call(assets(), AssetRegistry, 'addOffer', [idOfDid(did), rule(one)]),
  })
}

export async function closeOffer(did: Did, planId: Hex, title: string): Promise<void> {
  await transactNow({
    title: t.manage.closeTitle(title),
    effects: [t.manage.effects.close],
    call: call(assets(), AssetRegistry, 'closeOffer', [idOfDid(did), planId]),
  })
}

export async function addNode(did: Did, node: Address): Promise<void> {
  await transactNow({
    title: t.manage.addNodeTitle,
    effects: [t.manage.effects.addNode(node), t.manage.effects.thenSeal],
    call: call(assets(), AssetRegistry, 'addNode', [idOfDid(did), node]),
  })
}

export async function removeNode(did: Did, node: Address, until: number): Promise<void> {
  await transactNow({
    title: t.manage.removeNodeTitle,
    effects: [t.manage.effects.removeNode(node)],
    call: call(assets(), AssetRegistry, 'removeNode', [idOfDid(did), node, until]),
  })
}

export async function setActive(did: Did, active: boolean): Promise<void> {
  await transactNow({
    title: active ? t.manage.activate : t.manage.deactivate,
    effects: [active ? t.manage.effects.activate : t.manage.effects.deactivate],
    call: call(assets(), AssetRegistry, 'setActive', [idOfDid(did), active]),
  })
}

/** What `payee` earned by a plan in all, after the protocol's fee, shares and refunds: withdrawn or still there. */
export async function earnedBy(planId: Hex, payee: Address): Promise<bigint> {
  const left = await read(plans(), PlanRegistry, 'earnings', [planId, payee])
  const gone = await events('PlanRegistry', 'Withdrawn', { planId, payee })
  return gone.reduce((sum, log) => sum + (log.args.amount as bigint), left)
}

export interface Sale {
  block: number
  tx: Hex
  subscriber: Address
  units: number
  paid: bigint
}

/** All sales of a plan, newest first. */
export async function salesOf(planId: Hex): Promise<Sale[]> {
  const found = await events('PlanRegistry', 'Purchased', { planId })
  return found
    .map((log) => ({
      block: log.block,
      tx: log.tx,
      subscriber: log.args.subscriber as Address,
      units: Number(log.args.units),
      paid: log.args.paid as bigint,
    }))
    .reverse()
}
