/** One assistant of the builder's: texts, secret, plans and prices, nodes. */

import { useSignal } from '@preact/signals'
import { type Address, getAddress, type Hex, isAddress } from 'viem'
import { date, short } from '../../lib/amounts'
import {
  type Asset,
  asset,
  isTimePlan,
  metadataOf,
  type Offer,
  type Plan,
  plansOf,
  planText,
  ruleAt,
} from '../../lib/chain'
import { isDid } from '../../lib/did'
import { addNode, addOffer, changeOffer, closeOffer, removeNode, setActive } from '../../lib/managing'
import { LIMITS, type Metadata, normalTexts } from '../../lib/metadata'
import { facts } from '../../lib/node'
import { publishVersion } from '../../lib/publishing'
import { account } from '../../lib/wallet'
import { strings as t } from '../../strings'
import { Action, Await, Card, Check, Choice, Notice, Text, useLoad } from '../../ui/basics'
import { gives, perAccess } from '../../ui/plan'
import { sealsOf } from './assets'
import { Reseal } from './reseal'

interface Loaded {
  one: Asset
  metadata: Metadata | null
  titles: Map<Hex, string>
  plans: Plan[]
}

async function load(did: string): Promise<Loaded> {
  if (!isDid(did)) throw new Error(t.asset.notADid)
  const one = await asset(did)
  const plans = (await plansOf(account.value as Address)).filter((plan) => !plan.retired)
  const titles = new Map<Hex, string>()
  for (const plan of [...plans, ...one.offers.map((offer) => offer.plan)])
    if (!titles.has(plan.id)) titles.set(plan.id, (await planText(plan).catch(() => null))?.title ?? gives(plan.terms))
  return { one, metadata: await metadataOf(one), titles, plans }
}

export function Manage({ did }: { did: string }) {
  const found = useLoad(() => load(did), `${did}${account.value}`)
  return (
    <>
      <p>
        <a href="#/builder">← {t.builder.title}</a>
      </p>
      <Await of={found}>
        {(loaded) =>
          loaded.one.owner === account.value ? (
            <Own loaded={loaded} again={found.again} />
          ) : (
            <Notice kind="bad">
              <p>{t.refusals.NotAssetOwner}</p>
            </Notice>
          )
        }
      </Await>
    </>
  )
}

function Own({ loaded, again }: { loaded: Loaded; again: () => void }) {
  const { one, metadata } = loaded
  return (
    <>
      <p class="mono wrap quiet">{one.did}</p>
      {metadata ? (
        <>
          <Texts key={one.version} one={one} metadata={metadata} again={again} />
          <Card title={t.manage.secret}>
            <ul class="plain">
              {sealsOf(one, metadata).map((seal) => (
                <li key={seal.node}>
                  <span class="mono">{short(seal.node)}</span>:{' '}
                  <span class={seal.state === 'current' ? 'state good' : 'state bad'}>
                    {t.manage.seals[seal.state]}
                  </span>
                </li>
              ))}
            </ul>
            <Reseal one={one} onDone={again} />
          </Card>
        </>
      ) : (
        <Notice kind="bad">
          <p>{t.errors.noMetadata}</p>
        </Notice>
      )}
      <Offers loaded={loaded} again={again} />
      <Nodes one={one} again={again} />
      <Card title={one.active ? t.manage.deactivate : t.manage.activate}>
        <p>{one.active ? t.manage.effects.deactivate : t.manage.effects.activate}</p>
        <Action
          label={one.active ? t.manage.deactivate : t.manage.activate}
          kind={one.active ? 'danger' : 'primary'}
          run={async () => {
            await setActive(one.did, !one.active)
            again()
          }}
        />
      </Card>
    </>
  )
}

function Texts({ one, metadata, again }: { one: Asset; metadata: Metadata; again: () => void }) {
  const title = useSignal(metadata.title)
  const description = useSignal(metadata.description)
  const tags = useSignal(metadata.tags.join(', '))
  const notes = useSignal(metadata.notes)
  const save = async () => {
    const texts = normalTexts({
      title: title.value,
      description: description.value,
      tags: tags.value.split(',').filter((tag) => tag.trim()),
      notes: notes.value,
    })
    await publishVersion(one, texts, t.manage.saveTitle, [t.manage.effects.save(one.version + 1)])
    again()
  }
  return (
    <Card title={t.manage.texts}>
      <Text
        label={t.wizard.titleField}
        value={title.value}
        onInput={(value) => (title.value = value)}
        max={LIMITS.title}
      />
      <Text
        label={t.wizard.description}
        value={description.value}
        onInput={(value) => (description.value = value)}
        rows={4}
        max={LIMITS.description}
      />
      <Text
        label={t.tags}
        value={tags.value}
        onInput={(value) => (tags.value = value)}
        hint={t.manage.tagsHint}
        optional
      />
      <Text
        label={t.wizard.notes}
        value={notes.value}
        onInput={(value) => (notes.value = value)}
        rows={6}
        max={LIMITS.notes}
        optional
      />
      <Action label={t.manage.save} kind="primary" run={save} />
    </Card>
  )
}

function Offers({ loaded, again }: { loaded: Loaded; again: () => void }) {
  const { one, titles, plans } = loaded
  const now = Date.now() / 1000
  const open = one.offers.filter(({ offer }) => ruleAt(offer, now))
  const others = plans.filter((plan) => !one.offers.some(({ offer }) => offer.planId === plan.id))
  return (
    <Card title={t.manage.prices}>
      <p class="quiet">{t.manage.pricesLead}</p>
      {open.map(({ offer, plan }) => (
        <Price key={offer.planId} one={one} offer={offer} plan={plan} title={titles.get(plan.id) ?? ''} again={again} />
      ))}
      {others.length > 0 && <Add one={one} plans={others} titles={titles} again={again} />}
    </Card>
  )
}

function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text.trim())) throw new Error(t.errors.notWhole(0, 10 ** 15 - 1))
  return Number(text)
}

function rule(plan: Plan, min: string, max: string) {
  const one = isTimePlan(plan.terms) ? { min: 0, max: 0 } : { min: whole(min), max: whole(max) }
  if (one.min > one.max) throw new Error(t.wizard.maxBelowMin)
  return { planId: plan.id, ...one }
}

function Price({
  one,
  offer,
  plan,
  title,
  again,
}: {
  one: Asset
  offer: Offer
  plan: Plan
  title: string
  again: () => void
}) {
  const now = Date.now() / 1000
  const current = ruleAt(offer, now) ?? { min: offer.min, max: offer.max }
  const min = useSignal(String(current.min))
  const max = useSignal(String(current.max))
  const time = isTimePlan(plan.terms)
  const change = async () => {
    const next = rule(plan, min.value, max.value)
    await changeOffer(one.did, next, title, perAccess(next.min, next.max, time))
    again()
  }
  return (
    <section class="part" aria-label={title}>
      <h3>{title}</h3>
      <p>{t.asset.perAccess(perAccess(current.min, current.max, time))}</p>
      {offer.effectiveAt > now && (
        <Notice>{t.asset.soon(perAccess(offer.nextMin, offer.nextMax, time), date(offer.effectiveAt))}</Notice>
      )}
      {offer.closesAt ? (
        <Notice kind="warn">{t.manage.closes(date(offer.closesAt))}</Notice>
      ) : (
        <>
          {!time && (
            <div class="columns">
              <Text
                label={t.wizard.min}
                value={min.value}
                onInput={(value) => (min.value = value)}
                attributes={{ inputMode: 'numeric' }}
              />
              <Text
                label={t.wizard.max}
                value={max.value}
                onInput={(value) => (max.value = value)}
                attributes={{ inputMode: 'numeric' }}
              />
            </div>
          )}
          <div class="row">
            {!time && <Action label={t.manage.change} run={change} />}
            <Action
              label={t.manage.close}
              kind="danger"
              run={async () => {
                await closeOffer(one.did, plan.id, title)
                again()
              }}
            />
          </div>
        </>
      )}
    </section>
  )
}

function Add({
  one,
  plans,
  titles,
  again,
}: {
  one: Asset
  plans: Plan[]
  titles: Map<Hex, string>
  again: () => void
}) {
  const chosen = useSignal(plans[0]?.id ?? '')
  const min = useSignal('1')
  const max = useSignal('1')
  const plan = plans.find((plan) => plan.id === chosen.value) ?? (plans[0] as Plan)
  const time = isTimePlan(plan.terms)
  const add = async () => {
    const next = rule(plan, min.value, max.value)
    await addOffer(one.did, next, titles.get(plan.id) ?? '', perAccess(next.min, next.max, time))
    again()
  }
  return (
    <section class="part" aria-label={t.manage.addPlan}>
      <h3>{t.manage.addPlan}</h3>
      <Choice
        label={t.manage.plan}
        value={plan.id}
        options={plans.map((plan) => [plan.id, titles.get(plan.id) ?? short(plan.id)])}
        onChange={(id) => (chosen.value = id as Hex)}
      />
      {!time && (
        <div class="columns">
          <Text
            label={t.wizard.min}
            value={min.value}
            onInput={(value) => (min.value = value)}
            attributes={{ inputMode: 'numeric' }}
          />
          <Text
            label={t.wizard.max}
            value={max.value}
            onInput={(value) => (max.value = value)}
            attributes={{ inputMode: 'numeric' }}
          />
        </div>
      )}
      <Action label={t.manage.addPlan} run={add} />
    </section>
  )
}

function Nodes({ one, again }: { one: Asset; again: () => void }) {
  const node = useSignal('')
  const now = Date.now() / 1000
  const grace = useSignal(true)
  const serving = one.nodes.filter((each) => each.until > now)
  const add = async () => {
    const text = node.value.trim()
    if (!isAddress(text, { strict: false })) throw new Error(t.errors.notAnAddress)
    await addNode(one.did, getAddress(text))
    node.value = ''
    again()
  }
  return (
    <Card title={t.manage.nodes}>
      {serving.map((each) => (
        <section class="part" key={each.account} aria-label={each.account}>
          <p>
            <span class="wrap">{each.endpoint}</span> <span class="mono quiet wrap">{each.account}</span>
          </p>
          {each.until < 2 ** 40 - 1 ? (
            <p class="quiet">{t.manage.leaves(date(each.until))}</p>
          ) : (
            <Action
              label={t.manage.removeNode}
              kind="danger"
              run={async () => {
                await removeNode(one.did, each.account, grace.value ? Math.floor(Date.now() / 1000) + 3600 : 0)
                again()
              }}
            />
          )}
        </section>
      ))}
      <Check label={t.manage.grace} checked={grace.value} onChange={(on) => (grace.value = on)} />
      <Text
        label={t.manage.node}
        value={node.value}
        onInput={(value) => (node.value = value)}
        mono
        hint={t.manage.nodeHint(facts().node)}
      />
      <Action label={t.manage.addNode} run={add} />
    </Card>
  )
}
