/** New → Create Plan. */

import { useSignal } from '@preact/signals'
import { type Address, getAddress, isAddress, zeroAddress } from 'viem'
import { formatUnits, parseUnits } from '../lib/amounts'
import { currencyOf, type Terms } from '../lib/chain'
import { randomSalt } from '../lib/did'
import { draft } from '../lib/drafts'
import { LIMITS } from '../lib/metadata'
import { facts } from '../lib/node'
import { createPlan } from '../lib/publishing'
import { go, route } from '../lib/route'
import { message } from '../lib/tx'
import { account } from '../lib/wallet'
import { strings as t } from '../strings'
import { Action, Card, Check, Choice, focusWrong, Notice, Page, Radios, Text } from '../ui/basics'
import { amount, gives } from '../ui/plan'
import { NeedsWallet } from '../ui/wallet'

const DAY = 86_400

const form = draft('plan', () => ({
  salt: randomSalt(),
  kind: 'usage' as 'usage' | 'time',
  title: '',
  description: '',
  money: 'native' as 'native' | 'token',
  token: '',
  price: '0.01',
  credits: '100',
  length: '30',
  unit: String(DAY),
  expires: false,
  refundable: false,
  cooldown: '7',
  trial: false,
  limit: '1',
  supply: '',
  payees: [] as { account: string; share: string }[],
}))

/** field: empty where it is about all of the form. */
interface Problem {
  field: string
  message: string
}

/** What is wrong with one field of the form. */
class FieldWrong extends Error {
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(message)
  }
}

export default function NewPlan() {
  const s = form.state.value
  const wrong = useSignal<Problem | null>(null)
  const step = useSignal(-1)
  const error = (field: string) => (wrong.value?.field === field ? wrong.value.message : undefined)
  const native = facts().chain.currency

  const create = async () => {
    wrong.value = null
    step.value = -1
    const { terms, payees } = await read(s)
    const currency = await currencyOf(terms.token)
    const price = terms.price ? amount(terms.price, currency) : t.plan.nothing
    const effects = [t.plan.effects.sells(s.title.trim(), gives(terms), price), t.plan.effects.forever]
    const id = await createPlan(
      { salt: s.salt, title: s.title, description: s.description, terms, payees },
      effects,
      (now) => (step.value = now),
    )
    const back = route.value.query.get('back')
    form.clear()
    if (back === 'assistant') go(`new/assistant?plan=${id}`)
    else go(`builder?plan=${id}`)
  }
  const of = (problem: unknown): Problem => ({
    field: problem instanceof Error && 'field' in problem ? String(problem.field) : '',
    message: message(problem),
  })
  const failed = (problem: unknown) => {
    step.value = -1
    wrong.value = of(problem)
    focusWrong()
  }
  // What is wrong is looked at again with each change, and said for as long as it is.
  const set = (change: Partial<Form>) => {
    form.set(change)
    const now = form.state.value
    if (!wrong.value) return
    const still = (found: Problem | null) => {
      if (form.state.value === now) wrong.value = found?.field === wrong.value?.field ? found : null
    }
    read(now).then(
      () => still(null),
      (problem) => still(of(problem)),
    )
  }

  return (
    <Page title={t.plan.newTitle} lead={t.plan.newLead}>
      <NeedsWallet why={t.plan.why}>
        <form class="stack" onSubmit={(event) => event.preventDefault()}>
          <Card title={t.plan.sections.what}>
            <Radios
              label={t.plan.kind}
              value={s.kind}
              options={[
                ['usage', t.plan.byUsage],
                ['time', t.plan.byTime],
              ]}
              onChange={(kind) => set({ kind: kind as 'usage' | 'time' })}
            />
            <Text
              label={t.plan.title}
              value={s.title}
              onInput={(title) => set({ title })}
              max={LIMITS.title}
              error={error('title')}
            />
            <Text
              label={t.plan.description}
              value={s.description}
              onInput={(description) => set({ description })}
              rows={3}
              max={LIMITS.description}
              optional
              error={error('description')}
            />
          </Card>
          <Card title={t.plan.sections.price}>
            <div class="columns">
              <Text
                label={t.plan.price}
                value={s.price}
                onInput={(price) => set({ price })}
                hint={t.plan.priceHint}
                error={error('price')}
                attributes={{ inputMode: 'decimal' }}
              />
              <Choice
                label={t.plan.money}
                value={s.money}
                options={[
                  ['native', native],
                  ['token', t.plan.erc20],
                ]}
                onChange={(money) => set({ money: money as 'native' | 'token' })}
              />
            </div>
            {s.money === 'token' && (
              <Text
                label={t.plan.token}
                value={s.token}
                onInput={(token) => set({ token })}
                hint={t.plan.tokenHint}
                error={error('token')}
                mono
              />
            )}
            {s.kind === 'usage' && (
              <Text
                label={t.plan.creditsPerUnit}
                value={s.credits}
                onInput={(credits) => set({ credits })}
                hint={t.plan.creditsHint}
                error={error('credits')}
                attributes={{ inputMode: 'numeric' }}
              />
            )}
            {s.kind === 'usage' && (
              <Check label={t.plan.expires} checked={s.expires} onChange={(expires) => set({ expires })} />
            )}
            {(s.kind === 'time' || s.expires) && (
              <div class="columns">
                <Text
                  label={t.plan.duration}
                  value={s.length}
                  onInput={(length) => set({ length })}
                  error={error('duration')}
                  attributes={{ inputMode: 'numeric' }}
                />
                <Choice
                  label={t.plan.unit}
                  value={s.unit}
                  options={[
                    ['3600', t.plan.hours],
                    [String(DAY), t.plan.days],
                    [String(7 * DAY), t.plan.weeks],
                    [String(365 * DAY), t.plan.years],
                  ]}
                  onChange={(unit) => set({ unit })}
                />
              </div>
            )}
          </Card>
          <Card title={t.plan.sections.more}>
            <Check label={t.plan.refundable} checked={s.refundable} onChange={(refundable) => set({ refundable })} />
            {s.refundable && (
              <Text
                label={t.plan.cooldown}
                value={s.cooldown}
                onInput={(cooldown) => set({ cooldown })}
                hint={t.plan.cooldownHint}
                error={error('cooldown')}
                attributes={{ inputMode: 'numeric' }}
              />
            )}
            <Check label={t.plan.limited} checked={s.trial} onChange={(trial) => set({ trial })} />
            {s.trial && (
              <Text
                label={t.plan.limit}
                value={s.limit}
                onInput={(limit) => set({ limit })}
                hint={t.plan.limitHint}
                error={error('limit')}
                attributes={{ inputMode: 'numeric' }}
              />
            )}
            <Text
              label={t.plan.supply}
              value={s.supply}
              onInput={(supply) => set({ supply })}
              hint={t.plan.supplyHint}
              optional
              error={error('supply')}
              attributes={{ inputMode: 'numeric' }}
            />
            <fieldset>
              <legend>{t.plan.split}</legend>
              <p class="hint">{t.plan.splitHint}</p>
              {s.payees.map((payee, at) => (
                <div class="columns payee" key={at}>
                  <Text
                    label={t.plan.payee(at + 1)}
                    value={payee.account}
                    mono
                    onInput={(value) => set({ payees: s.payees.with(at, { ...payee, account: value }) })}
                    error={error(`payee ${at}`)}
                  />
                  <Text
                    label={t.plan.share}
                    value={payee.share}
                    onInput={(share) => set({ payees: s.payees.with(at, { ...payee, share }) })}
                    attributes={{ inputMode: 'decimal' }}
                  />
                  <button
                    type="button"
                    class="button"
                    aria-label={t.plan.removePayee(at + 1)}
                    onClick={() => set({ payees: s.payees.toSpliced(at, 1) })}
                  >
                    ×
                  </button>
                </div>
              ))}
              {s.payees.length < 8 && (
                <button
                  type="button"
                  class="button small"
                  onClick={() =>
                    set({
                      payees: [
                        ...s.payees,
                        { account: s.payees.length ? '' : (account.value ?? ''), share: s.payees.length ? '' : '100' },
                      ],
                    })
                  }
                >
                  {t.plan.addPayee}
                </button>
              )}
            </fieldset>
          </Card>
          {wrong.value && (
            <Notice kind="bad">
              <p>{wrong.value.field ? t.errors.inField(wrong.value.message) : wrong.value.message}</p>
            </Notice>
          )}
          {step.value >= 0 && (
            <p class="loading" role="status">
              {t.plan.steps[step.value]}
            </p>
          )}
          <p class="row end">
            <Action label={t.plan.create} run={create} kind="primary" onError={failed} />
          </p>
        </form>
      </NeedsWallet>
    </Page>
  )
}

type Form = typeof form.state.value

/** The form as the contract takes it. Raises FieldWrong. */
async function read(s: Form): Promise<{ terms: Terms; payees: { account: Address; basisPoints: number }[] }> {
  if (!s.title.trim()) throw new FieldWrong('title', t.errors.missing)
  let token: Address = zeroAddress
  if (s.money === 'token') {
    if (!isAddress(s.token.trim(), { strict: false })) throw new FieldWrong('token', t.errors.notAnAddress)
    token = getAddress(s.token.trim())
  }
  const currency = await currencyOf(token).catch(() => {
    throw new FieldWrong('token', t.errors.notAToken)
  })
  let price: bigint
  try {
    price = parseUnits(s.price, currency.decimals)
  } catch (error) {
    throw new FieldWrong('price', (error as Error).message)
  }
  if (price >= 2n ** 96n)
    throw new FieldWrong('price', t.errors.tooMuch(formatUnits(2n ** 96n - 1n, currency.decimals)))
  const usage = s.kind === 'usage'
  const seconds = () => whole('duration', s.length, 1, Math.floor((2 ** 32 - 1) / Number(s.unit))) * Number(s.unit)
  const payees = s.payees.map((payee, at) => {
    if (!isAddress(payee.account.trim(), { strict: false })) throw new FieldWrong(`payee ${at}`, t.errors.notAnAddress)
    let basisPoints: number
    try {
      basisPoints = Number(parseUnits(payee.share, 2))
    } catch (error) {
      throw new FieldWrong(`payee ${at}`, (error as Error).message)
    }
    return { account: getAddress(payee.account.trim()), basisPoints }
  })
  const total = payees.reduce((sum, payee) => sum + payee.basisPoints, 0)
  if (payees.length && total !== 10_000)
    throw new FieldWrong(`payee ${payees.length - 1}`, t.errors.notAllShares(formatUnits(BigInt(total), 2)))
  return {
    terms: {
      // A plan that costs nothing has no token.
      token: price ? token : zeroAddress,
      price,
      creditsPerUnit: usage ? BigInt(whole('credits', s.credits, 1, Number.MAX_SAFE_INTEGER)) : 0n,
      duration: !usage || s.expires ? seconds() : 0,
      purchaseLimit: s.trial ? whole('limit', s.limit, 1, 2 ** 24 - 1) : 0,
      supply: s.supply.trim() ? whole('supply', s.supply, 1, 2 ** 32 - 1) : 0,
      refundCooldown: s.refundable ? whole('cooldown', s.cooldown, 1, 194) * DAY : 0,
      voucherRequired: false,
    },
    payees,
  }
}

function whole(field: string, text: string, low: number, high: number): number {
  const value = /^\d{1,16}$/.test(text.trim()) ? Number(text) : Number.NaN
  if (!(value >= low && value <= high)) throw new FieldWrong(field, t.errors.notWhole(low, high))
  return value
}
