/** Vouchers: plans that ask for them are settled up to the ceiling that the subscriber has signed, and no further. */

import type { Address } from 'viem'
import { strings as t } from '../strings'
import { grouped } from './amounts'
import type { Plan, Standing } from './chain'
import { api, facts, NodeFailed } from './node'
import { signIn } from './session'
import { consent } from './tx'
import { account, EIP712Domain, signTypedData } from './wallet'

/** The highest voucher that the node has. ceiling: of all credits ever settled, as a decimal text. */
export interface Voucher {
  ceiling: string
  credits_left: number
}

/** null: none was handed in. Raises NodeFailed. */
export async function voucherOf(plan: Plan): Promise<Voucher | null> {
  try {
    return await api<Voucher>('GET', `v1/vouchers/${plan.id}`)
  } catch (error) {
    if (error instanceof NodeFailed && error.status === 404) return null
    throw error
  }
}

/** Signs in, then signs for so many of the credits that are left, and hands that in. Raises Rejected, NodeFailed. */
export async function signVoucher(plan: Plan, title: string, { consumed }: Standing, credits: bigint): Promise<void> {
  await signIn()
  const subscriber = account.value as Address
  const ceiling = (consumed + credits).toString()
  const typed = {
    domain: {
      name: 'nvm-chain PlanRegistry',
      version: '1',
      chainId: facts().chain.id,
      verifyingContract: facts().contracts.plan_registry,
    },
    primaryType: 'Voucher',
    types: {
      EIP712Domain,
      Voucher: [
        { name: 'planId', type: 'bytes32' },
        { name: 'subscriber', type: 'address' },
        { name: 'ceiling', type: 'uint256' },
      ],
    },
    message: { planId: plan.id, subscriber, ceiling },
  }
  const question = {
    title: t.voucher.title(title),
    effects: [t.voucher.effects.allows(grouped(credits)), t.voucher.effects.free],
    from: subscriber,
  }
  const signature = await consent(question, () => signTypedData(subscriber, typed))
  await api('POST', 'v1/vouchers', { plan_id: plan.id, ceiling, signature })
}
