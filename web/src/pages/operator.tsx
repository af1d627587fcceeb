/** For the node's operator: health, settlement, and which secrets are sealed to which key. */

import { useComputed } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { Hex } from 'viem'
import { aboutUnits, date, grouped, roughly, short } from '../lib/amounts'
import { api, facts } from '../lib/node'
import { account } from '../lib/wallet'
import { strings as t } from '../strings'
import { Await, Card, Facts, Notice, Page, useLoad } from '../ui/basics'
import { Transaction } from '../ui/transactions'
import { NeedsLogin } from '../ui/wallet'

interface Report {
  version: string
  node: string
  block: number | null
  chain_age_seconds: number | null
  max_chain_age: number
  calls_in_flight: number
  uptime_seconds: number
  registered: boolean
  key_version: number | null
  signer: string
  runway: number | null
  settlement: {
    waiting_calls: number
    waiting_credits: number
    open_batches: number
    parked_batches: number
    problems: string[]
    signer_balance: string
    signer_low: boolean
  } | null
  batches: {
    id: number
    did: string
    plan_id: Hex
    number: number
    state: string
    created: number
    calls: number
    credits: number
    subscribers: number
    block: number | null
    tx_hash: Hex | null
    reason: string | null
  }[]
  assets: { did: string; title: string; key_versions: number[]; state: string; problem?: string }[]
  outcomes: Record<string, number>
  provider_errors: Record<string, number>
}

const EVERY = 10_000

export default function Operator() {
  return (
    <Page title={t.operator.title} lead={t.operator.lead}>
      <NeedsLogin why={t.operator.why}>
        <Shown key={account.value} />
      </NeedsLogin>
    </Page>
  )
}

function Shown() {
  const report = useLoad(() => api<Report>('GET', 'operator'), account.value)
  const symbol = useComputed(() => facts().chain.currency)
  useEffect(() => {
    if (report.problem) return
    const timer = setInterval(report.again, EVERY)
    return () => clearInterval(timer)
  }, [report.problem, report.again])
  return (
    <Await of={report}>
      {(found) => {
        const { settlement } = found
        const stale = found.chain_age_seconds === null || found.chain_age_seconds > found.max_chain_age
        return (
          <>
            {stale && <Notice kind="bad">{t.operator.stale}</Notice>}
            {!found.registered && <Notice kind="bad">{t.operator.unregistered}</Notice>}
            {settlement?.signer_low && <Notice kind="warn">{t.operator.low}</Notice>}
            {settlement?.problems.map((problem) => (
              <Notice key={problem} kind="warn">
                {problem}
              </Notice>
            ))}
            <div class="grid">
              <Card title={t.operator.health}>
                <Facts
                  rows={[
                    [t.operator.version, found.version],
                    [t.operator.uptime, roughly(found.uptime_seconds)],
                    [t.operator.block, found.block === null ? '–' : grouped(found.block)],
                    [
                      t.operator.lag,
                      found.chain_age_seconds === null ? '–' : t.operator.seconds(found.chain_age_seconds.toFixed(1)),
                    ],
                    [t.operator.inFlight, grouped(found.calls_in_flight)],
                    [t.operator.key, found.key_version ?? '–'],
                  ]}
                />
              </Card>
              <Card title={t.operator.settlement}>
                {settlement ? (
                  <Facts
                    rows={[
                      [
                        t.operator.waiting,
                        t.operator.callsCredits(settlement.waiting_calls, settlement.waiting_credits, grouped),
                      ],
                      [t.operator.open, grouped(settlement.open_batches)],
                      [t.operator.parked, grouped(settlement.parked_batches)],
                      [t.operator.balance, `${aboutUnits(BigInt(settlement.signer_balance), 18)} ${symbol.value}`],
                      [t.operator.runway, found.runway === null ? '–' : grouped(found.runway)],
                      [t.operator.signer, <span class="mono wrap">{found.signer}</span>],
                    ]}
                  />
                ) : (
                  <p class="quiet">{t.operator.unknown}</p>
                )}
              </Card>
              <Card title={t.operator.outcomes}>
                {Object.keys(found.outcomes).length ? (
                  <Facts
                    rows={Object.entries(found.outcomes).map(([name, count]): [string, string] => [
                      name,
                      grouped(count),
                    ])}
                  />
                ) : (
                  <p class="quiet">{t.operator.noOutcomes}</p>
                )}
              </Card>
            </div>
            <h2>{t.operator.failures}</h2>
            <Failures of={found.provider_errors} />
            <h2>{t.operator.sealed}</h2>
            <div class="scroll" tabIndex={0} role="region" aria-label={t.operator.sealed}>
              <table class="stacked">
                <thead>
                  <tr>
                    <th scope="col">{t.asset.title}</th>
                    <th scope="col">{t.operator.keys}</th>
                    <th scope="col">{t.operator.state}</th>
                  </tr>
                </thead>
                <tbody>
                  {found.assets.map((one) => (
                    <tr key={one.did}>
                      <td>
                        <a href={`#/a/${one.did}`}>{one.title || short(one.did)}</a>
                      </td>
                      <td data-name={t.operator.keys}>{one.key_versions.join(', ') || '–'}</td>
                      <td data-name={t.operator.state}>
                        <span class={one.state === 'current' && !one.problem ? 'state good' : 'state bad'}>
                          {t.operator.states[one.state as keyof typeof t.operator.states] ?? one.state}
                        </span>
                        {one.problem && <p class="quiet">{one.problem}</p>}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            <h2>{t.operator.batches}</h2>
            <div class="scroll" tabIndex={0} role="region" aria-label={t.operator.batches}>
              <table class="stacked">
                <thead>
                  <tr>
                    <th scope="col">{t.operator.batch}</th>
                    <th scope="col">{t.operator.state}</th>
                    <th scope="col">{t.operator.made}</th>
                    <th scope="col" class="number">
                      {t.operator.calls}
                    </th>
                    <th scope="col" class="number">
                      {t.usage.credits}
                    </th>
                    <th scope="col">{t.builder.transaction}</th>
                  </tr>
                </thead>
                <tbody>
                  {found.batches.map((batch) => {
                    return (
                      <tr key={batch.id}>
                        <td data-name={t.operator.batch}>
                          {batch.number || '–'} <span class="quiet mono">{short(batch.did)}</span>
                        </td>
                        <td data-name={t.operator.state}>
                          {t.operator.batchStates[batch.state as keyof typeof t.operator.batchStates] ?? batch.state}
                          {batch.reason && <p class="quiet">{batch.reason}</p>}
                        </td>
                        <td data-name={t.operator.made}>{date(batch.created)}</td>
                        <td class="number" data-name={t.operator.calls}>
                          {grouped(batch.calls)}
                        </td>
                        <td class="number" data-name={t.usage.credits}>
                          {grouped(batch.credits)}
                        </td>
                        <td class="mono" data-name={t.builder.transaction}>
                          {batch.tx_hash ? <Transaction hash={batch.tx_hash} /> : '–'}
                        </td>
                      </tr>
                    )
                  })}
                </tbody>
              </table>
              {!found.batches.length && <p class="quiet">{t.operator.noBatches}</p>}
            </div>
          </>
        )
      }}
    </Await>
  )
}

/** What providers failed with since the node started, the most frequent first. */
function Failures({ of }: { of: Record<string, number> }) {
  const rows = Object.entries(of).sort((a, b) => b[1] - a[1])
  if (!rows.length) return <p class="quiet">{t.operator.noFailures}</p>
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t.operator.failures}>
      <table class="stacked">
        <thead>
          <tr>
            <th scope="col">{t.operator.failure}</th>
            <th scope="col" class="number">
              {t.operator.calls}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([kind, count]) => (
            <tr key={kind}>
              <td>
                {t.operator.failureKinds[kind as keyof typeof t.operator.failureKinds] ?? kind}{' '}
                <span class="quiet mono">{kind}</span>
              </td>
              <td class="number" data-name={t.operator.calls}>
                {grouped(count)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
