/** The wallet's plans: sales and earnings, withdraw, pause, end, grant. */

import { useSignal } from '@preact/signals'
import { type Address, getAddress, type Hex, isAddress } from 'viem'
import { PlanRegistry } from '../../generated/abi'
import { formatUnits, grouped, short } from '../../lib/amounts'
import { type Currency, currencyOf, isTimePlan, onSale, type Plan, plansOf, planText } from '../../lib/chain'
import { earnedBy, grant, retire, type Sale, salesOf, setPaused, withdraw } from '../../lib/managing'
import { facts } from '../../lib/node'
import { hex, read, rpc } from '../../lib/rpc'
import { account } from '../../lib/wallet'
import { strings as t } from '../../strings'
import { Action, Await, Dialog, Empty, Facts, Text, useLoad, useWrong, type Wrong } from '../../ui/basics'
import { amount, gives, Price } from '../../ui/plan'
import { byDay, Plot } from '../../ui/plot'
import { Transaction } from '../../ui/transactions'

interface Row {
  plan: Plan
  title: string
  currency: Currency
  earnings: bigint
}

async function load(): Promise<Row[]> {
  const who = account.value as Address
  return await Promise.all(
    (await plansOf(who)).map(async (plan) => ({
      plan,
      title: (await planText(plan).catch(() => null))?.title ?? gives(plan.terms),
      currency: await currencyOf(plan.terms.token),
      earnings: await read(facts().contracts.plan_registry, PlanRegistry, 'earnings', [plan.id, who]),
    })),
  )
}

export function Plans() {
  const rows = useLoad(load, account.value)
  return (
    <Await of={rows}>
      {(all) =>
        all.length ? (
          <>
            {all.map((row) => (
              <One key={row.plan.id} row={row} again={rows.again} />
            ))}
            <p class="row">
              <a class="button" href="#/new/assistant">
                {t.new.assistant.go}
              </a>
              <a class="button" href="#/new/plan">
                {t.new.plan.go}
              </a>
            </p>
          </>
        ) : (
          <Empty>
            <p>{t.builder.noPlans}</p>
            <p>
              <a class="button primary" href="#/new/plan">
                {t.new.plan.go}
              </a>
            </p>
          </Empty>
        )
      }
    </Await>
  )
}

function One({ row, again }: { row: Row; again: () => void }) {
  const { plan, title, currency, earnings } = row
  const granting = useSignal(false)
  const ending = useSignal(false)
  const open = useSignal(false)
  const after = (work: () => Promise<void>) => async () => {
    await work()
    again()
  }
  return (
    <section class="card" aria-label={title}>
      <div class="row between">
        <h2>{title}</h2>
        <span class={onSale(plan) ? 'state good' : 'state'}>
          {onSale(plan)
            ? t.builder.onSale
            : plan.retired
              ? t.builder.retired
              : plan.paused
                ? t.builder.paused
                : t.asset.soldOut}
        </span>
      </div>
      <p>
        <Price terms={plan.terms} />
      </p>
      <Facts
        rows={[
          [t.builder.id, <span class="mono wrap">{plan.id}</span>],
          [t.builder.sold, grouped(plan.sold)],
          [t.builder.revenue, amount(plan.revenue, currency)],
          [t.builder.earnings, <b>{amount(earnings, currency)}</b>],
        ]}
      />
      <div class="row">
        <Action
          label={t.builder.withdraw}
          kind="primary"
          disabled={earnings === 0n}
          run={after(() => withdraw(plan, title, amount(earnings, currency)))}
        />
        {!plan.retired && (
          <>
            <button type="button" class="button" onClick={() => (granting.value = true)}>
              {t.builder.grant}
            </button>
            <Action
              label={plan.paused ? t.builder.resume : t.builder.pause}
              run={after(() => setPaused(plan, title, !plan.paused))}
            />
            <Action label={t.builder.retire} kind="danger" run={() => (ending.value = true)} />
          </>
        )}
      </div>
      <details open={open.value} onToggle={(event) => (open.value = event.currentTarget.open)}>
        <summary>{t.builder.sales}</summary>
        {open.value && <Sales row={row} />}
      </details>
      {granting.value && (
        <Grant
          row={row}
          onClose={() => (granting.value = false)}
          onDone={() => {
            granting.value = false
            again()
          }}
        />
      )}
      {ending.value && (
        <Dialog title={t.builder.retireTitle(title)} onClose={() => (ending.value = false)}>
          <p>{t.builder.effects.retire}</p>
          <div class="row end">
            <button type="button" class="button" onClick={() => (ending.value = false)}>
              {t.cancel}
            </button>
            <Action
              label={t.builder.retire}
              kind="danger"
              run={after(async () => {
                await retire(plan, title)
                ending.value = false
              })}
            />
          </div>
        </Dialog>
      )}
    </section>
  )
}

async function timed(planId: Hex): Promise<(Sale & { time: number })[]> {
  const sales = await salesOf(planId)
  const times = new Map<number, number>()
  for (const block of new Set(sales.slice(0, 200).map((sale) => sale.block)))
    times.set(block, Number((await rpc<any>('eth_getBlockByNumber', [hex(block), false])).timestamp))
  return sales.map((sale) => ({ ...sale, time: times.get(sale.block) ?? 0 }))
}

function Sales({ row: { plan, currency, earnings } }: { row: Row }) {
  const loaded = useLoad(
    () => Promise.all([timed(plan.id), earnedBy(plan.id, account.value as Address)]),
    `${plan.id}${plan.sold}${earnings}`,
  )
  return (
    <Await of={loaded}>
      {([all, earned]) =>
        all.length ? (
          <>
            <Facts rows={[[t.builder.earned, <b>{amount(earned, currency)}</b>]]} />
            <Plot
              title={t.builder.plot(currency.symbol)}
              bars={byDay(
                all.map((sale) => ({ time: sale.time, value: sale.paid })),
                30,
                (sum) => formatUnits(sum, currency.decimals),
              )}
            />
            <div class="scroll" tabIndex={0} role="region" aria-label={t.builder.sales}>
              <table class="stacked">
                <thead>
                  <tr>
                    <th scope="col">{t.builder.buyer}</th>
                    <th scope="col" class="number">
                      {t.builder.units}
                    </th>
                    <th scope="col" class="number">
                      {t.builder.paid}
                    </th>
                    <th scope="col">{t.builder.transaction}</th>
                  </tr>
                </thead>
                <tbody>
                  {all.slice(0, 100).map((sale) => (
                    <tr key={sale.tx}>
                      <td class="mono" data-name={t.builder.buyer}>
                        {short(sale.subscriber)}
                      </td>
                      <td class="number" data-name={t.builder.units}>
                        {grouped(sale.units)}
                      </td>
                      <td class="number" data-name={t.builder.paid}>
                        {amount(sale.paid, currency)}
                      </td>
                      <td class="mono" data-name={t.builder.transaction}>
                        <Transaction hash={sale.tx} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </>
        ) : (
          <p class="quiet">{t.builder.noSales}</p>
        )
      }
    </Await>
  )
}

function Grant({ row, onClose, onDone }: { row: Row; onClose: () => void; onDone: () => void }) {
  const to = useSignal('')
  const units = useSignal('1')
  const look = (): Wrong | null =>
    isAddress(to.value.trim(), { strict: false }) ? null : ['to', t.errors.notAnAddress]
  const { error, fail } = useWrong(look, () => [to.value])
  const run = async () => {
    const problem = look()
    if (problem) return fail(...problem)
    if (!/^[1-9]\d{0,8}$/.test(units.value.trim())) throw new Error(t.errors.notWhole(1, 999_999_999))
    await grant(row.plan, row.title, getAddress(to.value.trim()), Number(units.value), gives(row.plan.terms))
    onDone()
  }
  return (
    <Dialog title={t.builder.grantTitle(row.title)} onClose={onClose}>
      <p>{t.builder.grantNote(isTimePlan(row.plan.terms))}</p>
      <Text label={t.buy.to} value={to.value} onInput={(value) => (to.value = value)} mono error={error('to')} />
      <Text
        label={t.buy.units}
        value={units.value}
        onInput={(value) => (units.value = value)}
        hint={t.buy.unitHint(gives(row.plan.terms))}
        attributes={{ inputMode: 'numeric' }}
      />
      <div class="row end">
        <button type="button" class="button" onClick={onClose}>
          {t.cancel}
        </button>
        <Action label={t.buy.go} kind="primary" run={run} />
      </div>
    </Dialog>
  )
}
