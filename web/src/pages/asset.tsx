/** One assistant: what it is, what it costs, how to call it; and buying it. */

import { useSignal } from '@preact/signals'
import { type Address, getAddress, isAddress } from 'viem'
import { date, grouped, roughly, short, span } from '../lib/amounts'
import { buy } from '../lib/buying'
import {
  asset,
  isTimePlan,
  metadataOf,
  onSale,
  type Plan,
  planText,
  ruleAt,
  type Standing,
  soldOut,
  standings,
} from '../lib/chain'
import { isDid } from '../lib/did'
import { Markdown } from '../lib/markdown'
import { go, route } from '../lib/route'
import { signIn } from '../lib/session'
import { confirmed } from '../lib/tx'
import { account } from '../lib/wallet'
import { strings as t } from '../strings'
import {
  Action,
  Await,
  Card,
  Check,
  Dialog,
  Facts,
  Notice,
  Page,
  Tags,
  Text,
  useLoad,
  useWrong,
  type Wrong,
} from '../ui/basics'
import { amount, gives, Price, perAccess, useCurrency } from '../ui/plan'
import { Samples } from '../ui/samples'
import { Share } from '../ui/share'
import { NeedsWallet } from '../ui/wallet'

export default function AssetPage() {
  const did = route.value.path[1] ?? ''
  return <One key={did} did={did} />
}

function One({ did }: { did: string }) {
  const found = useLoad(() => describe(did), `${did}${account.value}${confirmed.value}`)
  const sharing = useSignal(false)
  const buying = useSignal<Way | null>(null)
  if (!isDid(did))
    return (
      <Page title={t.asset.unknown}>
        <Notice kind="bad">
          <p>{t.asset.notADid}</p>
        </Notice>
      </Page>
    )
  const bought = () => {
    buying.value = null
    found.again()
  }
  return (
    <Page title={found.value?.metadata?.title ?? t.asset.title}>
      <Await of={found}>
        {({ record, metadata, ways }) => (
          <div class="split assistant">
            <div class="intro">
              {!record.active && (
                <Notice kind="warn">
                  <p>{t.asset.inactive}</p>
                </Notice>
              )}
              {metadata ? (
                <>
                  <p class="verified" title={record.cid}>
                    <span aria-hidden="true">✓</span> {t.asset.verified}
                  </p>
                  <div class="description">
                    {metadata.description.split('\n\n').map((text) => (
                      <p key={text}>{text}</p>
                    ))}
                  </div>
                  <Tags tags={metadata.tags} />
                </>
              ) : (
                <Notice kind="bad">
                  <p>{t.asset.unverified}</p>
                </Notice>
              )}
            </div>
            <div class="details">
              {metadata?.notes && (
                <Card title={t.asset.notes}>
                  <Markdown text={metadata.notes} />
                </Card>
              )}
              <Card title={t.share.call}>
                <Samples did={did} />
                <p class="hint">
                  {t.asset.needKey} <a href="#/me?tab=keys">{t.asset.toKeys}</a>
                </p>
              </Card>
              <Card title={t.asset.facts}>
                <Facts
                  rows={[
                    [t.share.did, <span class="mono wrap">{did}</span>],
                    [t.asset.owner, <span class="mono wrap">{record.owner}</span>],
                    [t.asset.cid, <span class="mono wrap">{record.cid}</span>],
                    [t.asset.version, t.asset.versionOf(record.version, date(record.updatedAt))],
                    ...record.nodes.map((node): [string, preact.ComponentChildren] => [
                      t.asset.node,
                      <>
                        <span class="wrap">{node.endpoint}</span>
                        <br />
                        <span class="mono wrap">{node.account}</span>
                      </>,
                    ]),
                  ]}
                />
              </Card>
            </div>
            <aside aria-label={t.asset.plans}>
              <h2>{t.asset.plans}</h2>
              {ways.map((way) => (
                <Offer key={way.plan.id} way={way} onBuy={() => (buying.value = way)} />
              ))}
              {!ways.length && <p>{t.asset.noPlans}</p>}
              <p>
                <button type="button" class="button wide" onClick={() => (sharing.value = true)}>
                  {t.share.button}
                </button>
              </p>
            </aside>
          </div>
        )}
      </Await>
      {buying.value && <Buy way={buying.value} did={did} onDone={bought} onClose={() => (buying.value = null)} />}
      {sharing.value && isDid(did) && (
        <Dialog title={t.share.button} onClose={() => (sharing.value = false)}>
          <Share did={did} />
          <p class="row end">
            <button type="button" class="button" onClick={() => (sharing.value = false)}>
              {t.close}
            </button>
          </p>
        </Dialog>
      )}
    </Page>
  )
}

export interface Way {
  plan: Plan
  title: string
  description: string
  min: bigint
  max: bigint
  next: { min: bigint; max: bigint; at: number } | null
  held: Standing | null
}

async function describe(did: string) {
  if (!isDid(did)) throw new Error(t.asset.notADid)
  const record = await asset(did)
  const now = Date.now() / 1000
  const who = account.value
  const [metadata, held, texts] = await Promise.all([
    metadataOf(record),
    who
      ? standings(
          record.offers.map(({ plan }) => plan.id),
          who,
        )
      : [],
    Promise.all(record.offers.map(({ plan }) => planText(plan).catch(() => null))),
  ])
  const ways: Way[] = []
  record.offers.forEach(({ offer, plan }, at) => {
    const rule = ruleAt(offer, now)
    if (!rule) return
    const change = offer.effectiveAt > now ? { min: offer.nextMin, max: offer.nextMax, at: offer.effectiveAt } : null
    const text = texts[at]
    ways.push({
      plan,
      title: text?.title ?? gives(plan.terms),
      description: text?.description ?? '',
      ...rule,
      next: change,
      held: held[at] ?? null,
    })
  })
  return { record, metadata, ways }
}

function Offer({ way, onBuy }: { way: Way; onBuy: () => void }) {
  const { plan } = way
  const held = way.held?.spendable ? way.held : null
  const returning = held?.refundAvailableAt
  const time = isTimePlan(plan.terms)
  return (
    <section class="card offer" aria-label={way.title}>
      <h3>{way.title}</h3>
      {way.description && <p>{way.description}</p>}
      <p>
        <Price terms={plan.terms} />
      </p>
      <ul class="plain">
        <li>{t.asset.perAccess(perAccess(way.min, way.max, time))}</li>
        {way.next && <li>{t.asset.soon(perAccess(way.next.min, way.next.max, time), date(way.next.at))}</li>}
        {plan.terms.refundCooldown > 0 && <li>{t.asset.refundable(span(plan.terms.refundCooldown))}</li>}
        {plan.terms.purchaseLimit > 0 && <li>{t.asset.limited(plan.terms.purchaseLimit)}</li>}
        {plan.terms.supply > 0 && <li>{t.asset.supply(grouped(Math.max(0, plan.terms.supply - plan.sold)))}</li>}
        {plan.terms.voucherRequired && <li>{t.asset.vouchers}</li>}
      </ul>
      {held && (
        <Notice kind={returning ? 'note' : 'good'}>
          <p>
            {returning
              ? t.asset.returning
              : time
                ? t.asset.open(date(held.expiry))
                : t.asset.have(grouped(held.spendable))}
          </p>
        </Notice>
      )}
      <button type="button" class="button primary wide" disabled={!onSale(plan)} onClick={onBuy}>
        {onSale(plan)
          ? held
            ? time
              ? t.buy.renew
              : t.buy.topUp
            : t.buy.button
          : soldOut(plan)
            ? t.asset.soldOut
            : t.asset.notOnSale}
      </button>
    </section>
  )
}

/** To where it is asked, signed in: that is the next thing to do there. */
async function ask(did: string) {
  await signIn()
  go(`me?tab=playground&did=${did}`)
}

export function Buy({
  way,
  did,
  onDone,
  onClose,
}: {
  way: Pick<Way, 'plan' | 'title' | 'held'>
  did?: string
  onDone: () => void
  onClose: () => void
}) {
  const units = useSignal('1')
  const gift = useSignal(false)
  const to = useSignal('')
  const look = (): Wrong | null =>
    gift.value && !isAddress(to.value.trim(), { strict: false }) ? ['to', t.errors.notAnAddress] : null
  const { error, fail } = useWrong(look, () => [to.value])
  const currency = useCurrency(way.plan.terms.token)
  const count = /^\d{1,9}$/.test(units.value) ? Number(units.value) : 0
  const done = useSignal(false)
  const run = async () => {
    if (count < 1) throw new Error(t.errors.notWhole(1, 999_999_999))
    const problem = look()
    if (problem) return fail(...problem)
    const subscriber = gift.value ? getAddress(to.value.trim()) : (account.value as Address)
    await buy(way.plan, way.title, count, subscriber)
    done.value = true
  }
  const expiry = way.held?.expiry ?? 0
  return (
    <Dialog title={t.buy.title(way.title)} onClose={onClose}>
      {done.value ? (
        <>
          <Notice kind="good">
            <p>{gift.value ? t.buy.doneGift(short(to.value.trim())) : t.buy.done}</p>
          </Notice>
          <p class="row end">
            {!gift.value && (
              <a class="button primary" href="#/me?tab=keys">
                {t.buy.toKeys}
              </a>
            )}
            {!gift.value && did && <Action label={t.me.tabs.playground} run={() => ask(did)} />}
            <button type="button" class="button" onClick={onDone}>
              {t.close}
            </button>
          </p>
        </>
      ) : (
        <NeedsWallet why={t.buy.why} atOnce>
          <form onSubmit={(event) => event.preventDefault()}>
            <Text
              label={t.buy.units}
              value={units.value}
              onInput={(value) => (units.value = value)}
              hint={t.buy.unitHint(gives(way.plan.terms))}
              attributes={{ inputMode: 'numeric' }}
            />
            <Check label={t.buy.gift} checked={gift.value} onChange={(on) => (gift.value = on)} />
            {gift.value && (
              <Text
                label={t.buy.to}
                value={to.value}
                onInput={(value) => (to.value = value)}
                mono
                error={error('to')}
                hint={t.buy.toHint}
              />
            )}
            {expiry > Date.now() / 1000 && !gift.value && isTimePlan(way.plan.terms) && (
              <p class="hint">{t.buy.extends(roughly(expiry - Date.now() / 1000))}</p>
            )}
            <p class="total">
              {t.buy.total}{' '}
              <b>
                {way.plan.terms.price === 0n
                  ? t.plan.nothing
                  : currency
                    ? amount(way.plan.terms.price * BigInt(count), currency)
                    : '…'}
              </b>
            </p>
            <div class="row end">
              <button type="button" class="button" onClick={onClose}>
                {t.cancel}
              </button>
              <Action label={t.buy.go} run={run} kind="primary" />
            </div>
          </form>
        </NeedsWallet>
      )}
    </Dialog>
  )
}
