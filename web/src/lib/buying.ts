/** Buying, gifts, renewals and refunds. */

import { type Address, erc20Abi, type Hex } from 'viem'
import { PlanRegistry } from '../generated/abi'
import { strings as t } from '../strings'
import { amount, gives } from '../ui/plan'
import { currencyOf, isNative, type Plan } from './chain'
import { facts } from './node'
import { type Call, call, head, read } from './rpc'
import { consent, TooPoor, transact, transactNow } from './tx'
import { account, EIP712Domain, Rejected, signTypedData } from './wallet'

/** Buys `units` for `subscriber`, who need not be the payer. Raises Rejected, Refused, TooPoor. */
export async function buy(plan: Plan, title: string, units: number, subscriber: Address): Promise<void> {
  const registry = facts().contracts.plan_registry
  const due = plan.terms.price * BigInt(units)
  const payer = account.value as Address
  const currency = await currencyOf(plan.terms.token)
  const gift = subscriber !== payer
  const effects = [
    t.buy.effects.gives(gives(plan.terms), units),
    gift ? t.buy.effects.gift(subscriber) : t.buy.effects.yours,
    due ? t.buy.effects.pays(amount(due, currency)) : t.buy.effects.free,
  ]
  const purchase = async (made: Call) =>
    await transact({
      title: gift ? t.buy.giftTitle(title) : t.buy.title(title),
      effects,
      from: payer,
      call: made,
      pays: due ? amount(due, currency) : undefined,
      tag: `buy:${plan.id}`,
    })
  if (isNative(plan.terms)) {
    await purchase(call(registry, PlanRegistry, 'purchase', [plan.id, subscriber, units, due], due))
    return
  }
  const token = plan.terms.token
  const [held, allowed] = await Promise.all([
    read(token, erc20Abi, 'balanceOf', [payer]),
    read(token, erc20Abi, 'allowance', [payer, registry]),
  ])
  if (held < due) throw new TooPoor(t.errors.tooFewTokens(amount(due, currency), amount(held, currency)))
  if (allowed < due) {
    const permit = await permitFor(token, payer, registry, due, {
      title: t.buy.permitTitle(currency.symbol),
      effects: [t.buy.effects.approves(amount(due, currency)), t.buy.effects.signed, t.buy.effects.next],
    })
    if (permit) {
      const { deadline, v, r, s } = permit
      await purchase(
        call(registry, PlanRegistry, 'purchaseWithPermit', [plan.id, subscriber, units, due, deadline, v, r, s]),
      )
      return
    }
    await transact({
      title: t.buy.approveTitle(currency.symbol),
      effects: [t.buy.effects.approves(amount(due, currency)), t.buy.effects.next],
      from: payer,
      call: call(token, erc20Abi, 'approve', [registry, due]),
    })
  }
  await purchase(call(registry, PlanRegistry, 'purchase', [plan.id, subscriber, units, due]))
}

const PERMIT_ABI = [
  {
    type: 'function',
    name: 'nonces',
    stateMutability: 'view',
    inputs: [{ type: 'address' }],
    outputs: [{ type: 'uint256' }],
  },
  { type: 'function', name: 'DOMAIN_SEPARATOR', stateMutability: 'view', inputs: [], outputs: [{ type: 'bytes32' }] },
  { type: 'function', name: 'name', stateMutability: 'view', inputs: [], outputs: [{ type: 'string' }] },
  { type: 'function', name: 'version', stateMutability: 'view', inputs: [], outputs: [{ type: 'string' }] },
] as const

/** An ERC-2612 permit of exactly the price, signed without a transaction once the person knows what for; null where
 * the token has none, or the wallet can't sign it. Raises Rejected. */
async function permitFor(
  token: Address,
  owner: Address,
  spender: Address,
  value: bigint,
  shown: { title: string; effects: string[] },
) {
  let parts: [bigint, Hex, string, string]
  try {
    parts = await Promise.all([
      read(token, PERMIT_ABI, 'nonces', [owner]),
      read(token, PERMIT_ABI, 'DOMAIN_SEPARATOR', []),
      read(token, PERMIT_ABI, 'name', []),
      read(token, PERMIT_ABI, 'version', []).catch(() => '1'),
    ])
  } catch {
    return null
  }
  const [nonce, separator, name, version] = parts
  const domain = { name, version, chainId: facts().chain.id, verifyingContract: token }
  const { domainSeparator } = await import('viem')
  // A token with another domain would take the signature for somebody else's.
  if (domainSeparator({ domain }) !== separator) return null
  const deadline = BigInt((await head()).timestamp + 3600)
  const typed = {
    domain,
    primaryType: 'Permit',
    types: {
      EIP712Domain,
      Permit: [
        { name: 'owner', type: 'address' },
        { name: 'spender', type: 'address' },
        { name: 'value', type: 'uint256' },
        { name: 'nonce', type: 'uint256' },
        { name: 'deadline', type: 'uint256' },
      ],
    },
    message: { owner, spender, value: value.toString(), nonce: nonce.toString(), deadline: deadline.toString() },
  }
  const unable = (error: unknown) => {
    if (error instanceof Rejected) throw error
    return '' as Hex
  }
  const signature = await consent({ ...shown, from: owner }, () => signTypedData(owner, typed).catch(unable))
  // A contract wallet's signature has another form: it approves instead.
  if (signature.length !== 132) return null
  const v = Number(`0x${signature.slice(130)}`)
  return {
    deadline,
    v: v < 27 ? v + 27 : v,
    r: signature.slice(0, 66) as Hex,
    s: `0x${signature.slice(66, 130)}` as Hex,
  }
}

export async function announceRefund(plan: Plan, title: string, wait: string): Promise<void> {
  await transactNow({
    title: t.refund.announceTitle(title),
    effects: [t.refund.effects.announce(wait), t.refund.effects.noMoneyYet],
    call: call(facts().contracts.plan_registry, PlanRegistry, 'announceRefund', [plan.id]),
  })
}

export async function cancelRefund(plan: Plan, title: string): Promise<void> {
  await transactNow({
    title: t.refund.cancelTitle(title),
    effects: [t.refund.effects.cancel],
    call: call(facts().contracts.plan_registry, PlanRegistry, 'cancelRefund', [plan.id]),
  })
}

export async function takeRefund(plan: Plan, title: string, back: string): Promise<void> {
  await transactNow({
    title: t.refund.takeTitle(title),
    effects: [t.refund.effects.take(back)],
    call: call(facts().contracts.plan_registry, PlanRegistry, 'takeRefund', [plan.id, account.value as Address]),
  })
}
