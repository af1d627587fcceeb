/** What was used: by day, and every receipt, which can be proven against the chain. */

import { useSignal } from '@preact/signals'
import { date, grouped, short } from '../../lib/amounts'
import { prove, type Receipt, receipts } from '../../lib/receipts'
import { explorerLink, message } from '../../lib/tx'
import { account } from '../../lib/wallet'
import { strings as t } from '../../strings'
import { Action, Await, Empty, useLoad } from '../../ui/basics'
import { byDay, Plot } from '../../ui/plot'

const MOST = 1000
const PAGE = 50

export function Usage() {
  const found = useLoad(() => receipts(MOST), account.value)
  const shown = useSignal(PAGE)
  return (
    <Await of={found}>
      {(all) =>
        all.length ? (
          <>
            <Plot
              title={t.usage.plot}
              bars={byDay(
                all.map(({ receipt }) => ({ time: receipt.time, value: BigInt(receipt.credits) })),
                30,
                grouped,
              )}
            />
            <h2>{t.usage.receipts}</h2>
            <p class="quiet">{t.usage.lead}</p>
            <div class="scroll" tabIndex={0} role="region" aria-label={t.usage.receipts}>
              <table class="stacked">
                <thead>
                  <tr>
                    <th scope="col">{t.usage.time}</th>
                    <th scope="col">{t.usage.assistant}</th>
                    <th scope="col" class="number">
                      {t.usage.credits}
                    </th>
                    <th scope="col">{t.usage.tokens}</th>
                    <th scope="col">{t.usage.proof}</th>
                  </tr>
                </thead>
                <tbody>
                  {all.slice(0, shown.value).map((one) => (
                    <Row key={one.id} one={one} />
                  ))}
                </tbody>
              </table>
            </div>
            {all.length > shown.value && (
              <p class="row center">
                <button type="button" class="button" onClick={() => (shown.value += PAGE)}>
                  {t.market.more}
                </button>
              </p>
            )}
          </>
        ) : (
          <Empty>
            <p>{t.usage.none}</p>
          </Empty>
        )
      }
    </Await>
  )
}

function Row({ one }: { one: Receipt }) {
  const { receipt } = one
  const usage = receipt.usage ?? {}
  const proven = useSignal<{ text: string; good: boolean; tx?: string } | null>(null)
  const check = async () => {
    try {
      const { batch, block, tx } = await prove(one.id, one.settlement?.block)
      proven.value = { text: t.usage.proven(batch, block), good: true, tx }
    } catch (error) {
      proven.value = { text: message(error), good: false }
    }
  }
  const link = proven.value?.tx ? explorerLink(proven.value.tx) : null
  return (
    <tr>
      <td data-name={t.usage.time}>{date(receipt.time)}</td>
      <td data-name={t.usage.assistant}>
        <a href={`#/a/${receipt.did}`} class="mono">
          {short(receipt.did)}
        </a>
      </td>
      <td class="number" data-name={t.usage.credits}>
        {grouped(receipt.credits)}
      </td>
      <td data-name={t.usage.tokens}>
        {usage.input_tokens !== undefined || usage.output_tokens !== undefined
          ? t.usage.inOut(grouped(usage.input_tokens ?? 0), grouped(usage.output_tokens ?? 0))
          : '–'}
      </td>
      <td data-name={t.usage.proof}>
        {proven.value ? (
          <span class={proven.value.good ? 'state good' : 'state'} role="status">
            {proven.value.good ? '✓ ' : ''}
            {proven.value.text}{' '}
            {link && (
              <a href={link} target="_blank" rel="noopener noreferrer">
                {t.tx.look}
              </a>
            )}
          </span>
        ) : one.settlement?.block ? (
          <Action label={t.usage.check} run={check} />
        ) : (
          <span class="quiet">{t.usage.waiting}</span>
        )}
      </td>
    </tr>
  )
}
