/** The plans that the wallet holds: what is left, until when, refunds. */

import { useSignal } from '@preact/signals'
import type { Address } from 'viem'
import { date, grouped, roughly, short, span } from '../../lib/amounts'
import { announceRefund, cancelRefund, takeRefund } from '../../lib/buying'
import {
  type Currency,
  currencyOf,
  isTimePlan,
  onSale,
  type Plan,
  plansHeldBy,
  planText,
  plan as readPlan,
  type Standing,
  standings,
} from '../../lib/chain'
import { api } from '../../lib/node'
import { signedIn } from '../../lib/session'
import { type Voucher, voucherOf } from '../../lib/vouchers'
import { account } from '../../lib/wallet'
import { strings as t } from '../../strings'
import { Action, Await, Empty, Facts, Notice, useLoad } from '../../ui/basics'
import { amount, gives } from '../../ui/plan'
import { Buy } from '../asset'
import type { Listed } from '../market'
import { SignedFor } from './voucher'

interface Row {
  plan: Plan
  title: string
  standing: Standing
  currency: Currency
  assistants: Listed[]
  /** Credits that a call can use now, as the node knows; null without a login there. */
  left: number | null
  /** Under a plan that asks for one. */
  voucher: Voucher | null
}

interface Account {
  plans: { plan_id: string; credits_left: number }[]
}

async function load(): Promise<Row[]> {
  const who = account.value as Address
  const ids = await plansHeldBy(who)
  const [found, plans, known] = await Promise.all([
    standings(ids, who),
    Promise.all(ids.map(readPlan)),
    signedIn() ? api<Account>('GET', 'v1/account').catch(() => null) : null,
  ])
  return await Promise.all(
    plans.map(async (plan, at) => ({
      plan,
      title: (await planText(plan).catch(() => null))?.title ?? gives(plan.terms),
      standing: found[at] as Standing,
      currency: await currencyOf(plan.terms.token),
      assistants: (await api<{ data: Listed[] }>('GET', `catalogue?plan=${plan.id}&limit=20`)).data,
      left: known?.plans.find((one) => one.plan_id === plan.id)?.credits_left ?? null,
      voucher: plan.terms.voucherRequired && signedIn() ? await voucherOf(plan) : null,
    })),
  )
}

export function Held() {
  const rows = useLoad(load, account.value)
  const buying = useSignal<Row | null>(null)
  return (
    <>
      <Await of={rows}>
        {(found) =>
          found.length ? (
            <ul class="grid">
              {found.map((row) => (
                <li key={row.plan.id} class="card">
                  <One row={row} again={rows.again} onBuy={() => (buying.value = row)} />
                </li>
              ))}
            </ul>
          ) : (
            <Empty>
              <p>{t.me.none}</p>
              <p>
                <a class="button primary" href="#/">
                  {t.me.toMarket}
                </a>
              </p>
            </Empty>
          )
        }
      </Await>
      {buying.value && (
        <Buy
          way={{
            plan: buying.value.plan,
            title: buying.value.title,
            held: buying.value.standing,
          }}
          onClose={() => (buying.value = null)}
          onDone={() => {
            buying.value = null
            rows.again()
          }}
        />
      )}
    </>
  )
}

function One({ row, again, onBuy }: { row: Row; again: () => void; onBuy: () => void }) {
  const { plan, standing, title } = row
  const now = Number(standing.timestamp)
  const time = isTimePlan(plan.terms)
  const returning = standing.refundAvailableAt > 0n
  const open = standing.spendable > 0n && !returning
  const left = row.left ?? Number(standing.spendable)
  const facts: [string, preact.ComponentChildren][] = []
  if (!time) {
    facts.push([t.me.left, <b>{grouped(left)}</b>])
    facts.push([t.me.used, grouped(standing.consumed)])
  }
  if (standing.expiry)
    facts.push([
      t.me.until,
      standing.expiry > now
        ? t.me.inTime(date(standing.expiry), roughly(standing.expiry - now))
        : t.me.over(date(standing.expiry)),
    ])
  return (
    <>
      <h2>{title}</h2>
      <p>
        <span class={open ? 'state good' : 'state'}>
          {open ? t.me.active : returning ? t.me.returning : t.me.ended}
        </span>
      </p>
      <Facts rows={facts} />
      {row.assistants.length > 0 && (
        <p>
          {t.me.opens}{' '}
          {row.assistants.map((one, at) => (
            <>
              {at ? ', ' : ''}
              <a href={`#/a/${one.did}`}>{one.title || short(one.did)}</a>
            </>
          ))}
        </p>
      )}
      {plan.terms.voucherRequired && open && (
        <SignedFor plan={plan} title={title} standing={standing} known={row.voucher} again={again} />
      )}
      <Refund row={row} again={again} />
      <p class="row">
        <button type="button" class="button primary" disabled={!onSale(plan)} onClick={onBuy}>
          {time ? t.buy.renew : t.buy.topUp}
        </button>
        {open && row.assistants.length > 0 && (
          <a class="button" href={`#/me?tab=playground&did=${row.assistants[0]?.did}`}>
            {t.me.tabs.playground}
          </a>
        )}
      </p>
    </>
  )
}

function Refund({ row, again }: { row: Row; again: () => void }) {
  const { plan, standing, title, currency } = row
  if (!plan.terms.refundCooldown) return null
  const at = Number(standing.refundAvailableAt)
  const money = amount(standing.refundAmount, currency)
  if (!at)
    return standing.refundAmount ? (
      <p>
        <Action
          label={t.refund.announce(money)}
          run={async () => {
            await announceRefund(plan, title, span(plan.terms.refundCooldown))
            again()
          }}
        />
      </p>
    ) : null
  const ready = Number(standing.timestamp) >= at
  return (
    <Notice>
      <p>{ready ? t.refund.ready(money) : t.refund.waiting(money, date(at))}</p>
      <p class="row">
        <Action
          label={t.refund.take}
          disabled={!ready}
          run={async () => {
            await takeRefund(plan, title, money)
            again()
          }}
        />
        <Action
          label={t.refund.cancel}
          run={async () => {
            await cancelRefund(plan, title)
            again()
          }}
        />
      </p>
    </Notice>
  )
}
