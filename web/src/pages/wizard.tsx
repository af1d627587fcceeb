/** New → Create Asset → OpenAI Assistant: describe, attributes, integration, plan, review, create, done. */

import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect } from 'preact/hooks'
import type { Address, Hex } from 'viem'
import { short } from '../lib/amounts'
import { isTimePlan, type Plan, type PlanText, plansOf, planText } from '../lib/chain'
import { DefinitionInvalid, isOpenAi, keyProblem, makeDefinition, perToken, reachable } from '../lib/definition'
import { type Did, randomSalt } from '../lib/did'
import { draft } from '../lib/drafts'
import { Markdown } from '../lib/markdown'
import { LIMITS, MetadataInvalid, normalTexts } from '../lib/metadata'
import { facts } from '../lib/node'
import { registerAsset } from '../lib/publishing'
import { go, route } from '../lib/route'
import { tag } from '../lib/text'
import { follow, message, sent } from '../lib/tx'
import { account } from '../lib/wallet'
import { strings as t } from '../strings'
import { ADVANCED, Advanced } from '../ui/advanced'
import {
  Action,
  Await,
  Card,
  Check,
  Facts,
  Field,
  focusWrong,
  Notice,
  Page,
  Radios,
  Tags,
  Text,
  useLoad,
  useWrong,
  type Wrong,
} from '../ui/basics'
import { KeyCheck } from '../ui/keycheck'
import { gives, Price, perAccess } from '../ui/plan'
import { SecretField } from '../ui/secret'
import { Share } from '../ui/share'
import { NeedsWallet } from '../ui/wallet'

interface Chosen {
  id: Hex
  title: string
  time: boolean
  min: string
  max: string
}

const form = draft(
  'assistant',
  () => ({
    salt: randomSalt() as Hex,
    step: 0,
    title: '',
    description: '',
    tags: [] as string[],
    kind: 'model' as 'model' | 'assistant',
    ...ADVANCED,
    baseUrl: 'https://api.openai.com/v1',
    assistantId: '',
    model: '',
    instructions: '',
    notes: '',
    offers: [] as Chosen[],
    registering: '' as Did | '',
    done: '' as Did | '',
  }),
  ['instructions', 'tools', 'settings'],
)

type Form = typeof form.state.value

const STEPS = t.wizard.steps
const REVIEW = 4
const CREATE = 5

export default function Wizard() {
  const s = form.state.value
  // Lives in this page's memory alone: leaving the page or loading it again forgets it.
  const token = useSignal('')
  const wrong = useWrong(
    () => check(form.state.value, token.value, form.state.value.step),
    () => [form.state.value, token.value],
  )
  // It is a field that isn't shown.
  const lost = useSignal(false)

  // And another wallet, or none, finds none of it.
  useEffect(
    () => () => {
      token.value = ''
    },
    [account.value],
  )

  const waiting = useSignal(false)
  useEffect(() => {
    const { step, done, registering } = form.state.value
    if (step === CREATE && !done) form.set({ step: REVIEW })
    // It was sent before the page was loaded again: nothing but its block is missing.
    const before = sent.value.find(
      (one) => registering && one.tag === `asset:${registering}` && ['pending', 'confirmed'].includes(one.state),
    )
    if (!before || done) return
    waiting.value = true
    follow(before.hash).then(
      () => finish(registering as Did),
      () => (waiting.value = false),
    )
  }, [])

  if (s.done) return <Done did={s.done} title={s.title} />

  const at = (step: number) => {
    wrong.clear()
    form.set({ step })
    window.scrollTo(0, 0)
    requestAnimationFrame(() => document.querySelector<HTMLElement>('main h2')?.focus())
  }
  const fail = (...problem: Wrong) => {
    lost.value = false
    wrong.fail(...problem)
    focusWrong(() => (lost.value = true))
  }
  const next = () => {
    const problem = check(s, token.value, s.step)
    if (problem) fail(...problem)
    else at(s.step + 1)
  }
  const props: StepProps = { s, error: wrong.error, token, at, fail }
  const hidden = lost.value && wrong.any()

  return (
    <Page title={t.wizard.title} lead={t.wizard.lead}>
      <NeedsWallet why={t.wizard.why}>
        <ol class="steps" aria-label={t.wizard.progress}>
          {STEPS.map((name, step) => (
            <li
              key={name}
              class={step < s.step ? 'past' : step === s.step ? 'now' : ''}
              aria-current={step === s.step ? 'step' : undefined}
            >
              {step < s.step && s.step < CREATE ? (
                <button type="button" class="link" onClick={() => at(step)}>
                  {name}
                </button>
              ) : (
                <span>{name}</span>
              )}
            </li>
          ))}
        </ol>
        {waiting.value && (
          <p class="loading" role="status">
            {t.wizard.stillPending}
          </p>
        )}
        <form
          class="stack"
          autocomplete="off"
          onSubmit={(event) => {
            event.preventDefault()
            if (s.step < REVIEW) next()
          }}
        >
          <Card>
            <h2 tabIndex={-1}>{t.wizard.heading(s.step + 1, STEPS[s.step] as string)}</h2>
            {s.step === 0 && <Describe {...props} />}
            {s.step === 1 && <Attributes {...props} />}
            {s.step === 2 && <Integration {...props} />}
            {s.step === 3 && <Plans {...props} />}
            {s.step === 4 && <Review {...props} />}
            {s.step === 5 && <Create {...props} />}
          </Card>
          {hidden && (
            <Notice kind="bad">
              <p>{t.errors.inField(hidden)}</p>
            </Notice>
          )}
          {s.step < CREATE && (
            <p class="row between">
              {s.step > 0 ? (
                <button type="button" class="button" onClick={() => at(s.step - 1)}>
                  {t.wizard.back}
                </button>
              ) : (
                <span />
              )}
              {s.step < REVIEW ? (
                <button type="submit" class="button primary">
                  {t.wizard.next}
                </button>
              ) : (
                <button
                  type="button"
                  class="button primary"
                  onClick={() => {
                    for (const step of [0, 1, 2, 3]) {
                      const problem = check(s, token.value, step)
                      if (!problem) continue
                      at(step)
                      fail(...problem)
                      return
                    }
                    at(CREATE)
                  }}
                >
                  {t.wizard.create}
                </button>
              )}
            </p>
          )}
        </form>
      </NeedsWallet>
    </Page>
  )
}

/** Only what is public stays. */
function finish(did: Did) {
  form.set({ done: did })
  form.forget()
}

interface StepProps {
  s: Form
  error: (field: string) => string | undefined
  token: { value: string }
  at: (step: number) => void
  fail: (...problem: Wrong) => void
}

function Describe({ s, error }: StepProps) {
  const word = useSignal('')
  const problem = useSignal('')
  const add = () => {
    try {
      const normal = tag(word.value, LIMITS.tag)
      if (s.tags.length >= LIMITS.tags) throw new Error(t.wizard.tooManyTags(LIMITS.tags))
      if (!s.tags.includes(normal)) form.set({ tags: [...s.tags, normal] })
      word.value = problem.value = ''
    } catch (failure) {
      problem.value = t.errors.field(t.wizard.tag, (failure as Error).message)
    }
  }
  return (
    <>
      <Text
        label={t.wizard.titleField}
        value={s.title}
        onInput={(title) => form.set({ title })}
        max={LIMITS.title}
        hint={t.wizard.titleHint}
        error={error('title')}
      />
      <Text
        label={t.wizard.description}
        value={s.description}
        onInput={(description) => form.set({ description })}
        rows={5}
        max={LIMITS.description}
        hint={t.wizard.descriptionHint}
        error={error('description')}
      />
      <Field label={t.tags} optional hint={t.wizard.tagsHint} error={problem.value || error('tags')}>
        {(field) => (
          <div class="row">
            <input
              {...field}
              type="text"
              value={word.value}
              maxLength={64}
              onInput={(event) => {
                word.value = event.currentTarget.value
                problem.value = ''
              }}
              onKeyDown={(event) => {
                if (event.key !== 'Enter') return
                event.preventDefault()
                add()
              }}
            />
            <button type="button" class="button" aria-label={t.wizard.addTag} onClick={add}>
              +
            </button>
          </div>
        )}
      </Field>
      {s.tags.length > 0 && (
        <ul class="tags" aria-label={t.tags}>
          {s.tags.map((one) => (
            <li key={one}>
              <button
                type="button"
                class="tag"
                aria-label={t.wizard.removeTag(one)}
                onClick={() => form.set({ tags: s.tags.filter((other) => other !== one) })}
              >
                {one} ×
              </button>
            </li>
          ))}
        </ul>
      )}
    </>
  )
}

function Attributes({ s, error, token }: StepProps) {
  const gone = s.kind === 'assistant' && isOpenAi(s.baseUrl)
  const far = s.baseUrl.length > 10 && !reachable(s.baseUrl, facts().providers)
  return (
    <>
      <Notice>
        <p>{t.wizard.sealedNote}</p>
      </Notice>
      <Text
        label={t.wizard.provider}
        value={s.baseUrl}
        onInput={(baseUrl) => form.set({ baseUrl })}
        hint={t.wizard.providerHint}
        error={error('base_url')}
        mono
        attributes={{ inputMode: 'url', spellcheck: false }}
      />
      {far && (
        <Notice kind="warn">
          <p>{t.wizard.notAllowed(facts().providers.join(', '))}</p>
        </Notice>
      )}
      <Radios
        label={t.wizard.kind}
        value={s.kind}
        options={[
          ['model', t.wizard.kinds.model],
          ['assistant', t.wizard.kinds.assistant],
        ]}
        onChange={(kind) => form.set({ kind: kind as Form['kind'] })}
      />
      {gone && (
        <Notice kind="warn">
          <p>{t.wizard.shutDown}</p>
        </Notice>
      )}
      {s.kind === 'assistant' && (
        <Text
          label={t.wizard.assistantId}
          value={s.assistantId}
          onInput={(assistantId) => form.set({ assistantId })}
          hint={t.wizard.assistantIdHint}
          error={error('assistant_id')}
          mono
          attributes={{ spellcheck: false }}
        />
      )}
      {s.kind === 'model' && (
        <>
          <Text
            label={t.wizard.model}
            value={s.model}
            onInput={(model) => form.set({ model })}
            hint={t.wizard.modelHint}
            error={error('model')}
            mono
            attributes={{ spellcheck: false }}
          />
          <Text
            label={t.wizard.instructions}
            value={s.instructions}
            onInput={(instructions) => form.set({ instructions })}
            rows={5}
            hint={t.wizard.instructionsHint}
            optional
            error={error('instructions')}
          />
        </>
      )}
      <SecretField
        label={t.wizard.token}
        hint={t.wizard.tokenHint}
        value={token.value}
        onInput={(value) => (token.value = value)}
        error={
          error('api_key') ??
          (token.value && keyProblem(token.value)
            ? t.errors.field(t.wizard.theToken, keyProblem(token.value) ?? '')
            : undefined)
        }
        good={!!token.value && !keyProblem(token.value)}
      />
      <KeyCheck baseUrl={s.baseUrl} token={token.value} model={s.kind === 'model' ? s.model : ''} />
      <Advanced s={s} set={form.set} error={error} />
    </>
  )
}

function Integration({ s, error }: StepProps) {
  return (
    <>
      <Text
        label={t.wizard.notes}
        value={s.notes}
        onInput={(notes) => form.set({ notes })}
        rows={8}
        optional
        max={LIMITS.notes}
        hint={t.wizard.notesHint}
        error={error('notes')}
      />
      {s.notes.trim() && (
        <section class="preview" aria-label={t.wizard.preview}>
          <p class="quiet">{t.wizard.preview}</p>
          <Markdown text={s.notes} />
        </section>
      )}
    </>
  )
}

function Plans({ s, error }: StepProps) {
  const plans = useLoad(
    async () =>
      await Promise.all(
        (await plansOf(account.value as Address))
          .filter((plan) => !plan.retired)
          .map(async (plan) => ({ plan, text: await planText(plan).catch(() => null) })),
      ),
    account.value,
  )
  const fresh = route.value.query.get('plan')
  // Before it is shown: whoever is about to click on it would take it away.
  useLayoutEffect(() => {
    // The one that was just made, or the only one that there is.
    const only = plans.value?.length === 1 && !s.offers.length
    const found = plans.value?.find(({ plan }) => plan.id === fresh || only)
    if (found && !s.offers.some((offer) => offer.id === fresh))
      form.set({ offers: [...s.offers, chosen(found.plan, found.text)] })
  }, [plans.value])
  const toggle = (plan: Plan, text: PlanText | null, on: boolean) => {
    const others = s.offers.filter((offer) => offer.id !== plan.id)
    form.set({ offers: on ? [...others, chosen(plan, text)] : others })
  }
  const change = (id: Hex, change: Partial<Chosen>) =>
    form.set({ offers: s.offers.map((offer) => (offer.id === id ? { ...offer, ...change } : offer)) })
  return (
    <>
      <p>{t.wizard.plansLead}</p>
      <Await of={plans}>
        {(found) =>
          found.length ? (
            <ul class="plans">
              {found.map(({ plan, text }) => {
                const offer = s.offers.find((one) => one.id === plan.id)
                return (
                  <li key={plan.id} class="card">
                    <Check
                      label={text?.title ?? short(plan.id)}
                      checked={!!offer}
                      onChange={(on) => toggle(plan, text, on)}
                    />
                    <p class="quiet">
                      <Price terms={plan.terms} />
                    </p>
                    {offer && !offer.time && (
                      <div class="columns">
                        <Text
                          label={t.wizard.min}
                          value={offer.min}
                          onInput={(min) => change(plan.id, offer.max === offer.min ? { min, max: min } : { min })}
                          error={error(`min ${plan.id}`)}
                          attributes={{ inputMode: 'numeric' }}
                        />
                        <Text
                          label={t.wizard.max}
                          value={offer.max}
                          onInput={(max) => change(plan.id, { max })}
                          error={error(`max ${plan.id}`)}
                          attributes={{ inputMode: 'numeric' }}
                        />
                      </div>
                    )}
                    {offer?.time && <p class="hint">{t.wizard.timePlan}</p>}
                  </li>
                )
              })}
            </ul>
          ) : (
            <Notice>
              <p>{t.wizard.noPlans}</p>
            </Notice>
          )
        }
      </Await>
      {error('offers') && (
        <p class="error" role="alert">
          {error('offers')}
        </p>
      )}
      <p>
        <a class="button" href="#/new/plan?back=assistant">
          {t.wizard.newPlan}
        </a>
      </p>
    </>
  )
}

function chosen(plan: Plan, text: PlanText | null): Chosen {
  const time = isTimePlan(plan.terms)
  const one = time ? '0' : '1'
  return { id: plan.id, title: text?.title ?? gives(plan.terms), time, min: one, max: one }
}

function Review({ s, token, at }: StepProps) {
  const long = (text: string, kind = '') =>
    text.trim() ? <span class={`pre wrap ${kind}`}>{text.trim()}</span> : t.none
  const policies = Object.entries(t.wizard.policies)
  const allowed = policies.filter(([name]) => s.policy[name]).map(([, label]) => label)
  const edit = (step: number) => (
    <button
      type="button"
      class="button small"
      aria-label={t.wizard.edit(STEPS[step] as string)}
      onClick={() => at(step)}
    >
      {t.edit}
    </button>
  )
  return (
    <>
      <h3 class="row between">
        {STEPS[0]} {edit(0)}
      </h3>
      <Facts
        rows={[
          [t.wizard.titleField, s.title],
          [t.wizard.description, s.description || t.none],
          [t.tags, s.tags.length ? <Tags tags={s.tags} /> : t.none],
        ]}
      />
      <h3 class="row between">
        {STEPS[1]} {edit(1)}
      </h3>
      <Facts
        rows={[
          [t.wizard.provider, <span class="mono wrap">{s.baseUrl}</span>],
          s.kind === 'assistant'
            ? [t.wizard.assistantId, <span class="mono">{s.assistantId}</span>]
            : [t.wizard.model, <span class="mono">{s.model}</span>],
          [t.wizard.token, token.value ? t.wizard.tokenThere : <b class="bad">{t.wizard.tokenGone}</b>],
          ...(s.kind === 'model'
            ? ([
                [t.wizard.dialect, t.wizard.dialects[s.dialect === 'responses-stateless' ? 'stateless' : s.dialect]],
                [t.wizard.instructions, long(s.instructions)],
              ] as [string, ComponentChildren][])
            : []),
          [t.wizard.tools, long(s.tools, 'mono')],
          [t.wizard.settings, long(s.settings, 'mono')],
          [t.wizard.policy, allowed.length ? allowed.join(', ') : t.wizard.nothingMore],
          [t.wizard.pricing, s.byTokens ? t.wizard.perToken(s.inputPrice, s.outputPrice) : t.wizard.byAccess],
        ]}
      />
      <h3 class="row between">
        {STEPS[2]} {edit(2)}
      </h3>
      {s.notes.trim() ? <Markdown text={s.notes} /> : <p class="quiet">{t.none}</p>}
      <h3 class="row between">
        {STEPS[3]} {edit(3)}
      </h3>
      <ul>
        {s.offers.map((offer) => (
          <li key={offer.id}>
            {offer.title}: {t.wizard.eachAccess(perAccess(Number(offer.min), Number(offer.max), offer.time))}
          </li>
        ))}
      </ul>
    </>
  )
}

function Create({ s, token, at, fail }: StepProps) {
  const step = useSignal(0)
  const problem = useSignal('')
  const run = async () => {
    problem.value = ''
    try {
      const did = await registerAsset(
        {
          ...s,
          ...normalTexts(s),
          offers: s.offers.map((offer) => ({
            planId: offer.id,
            title: offer.title,
            min: Number(offer.min),
            max: Number(offer.max),
          })),
          nodes: [facts().node],
        },
        () => definition(s, token.value),
        (now, did) => {
          step.value = now
          form.set({ registering: did })
        },
      )
      token.value = ''
      finish(did)
    } catch (error) {
      if (error instanceof DefinitionInvalid) {
        at(1)
        fail(error.field, error.message)
      } else if (error instanceof MetadataInvalid) {
        at(error.field === 'notes' ? 2 : 0)
        fail(error.field, error.message)
      } else {
        problem.value = message(error)
      }
    }
  }
  useEffect(() => void run(), [])
  return (
    <>
      <ol class="progress">
        {t.wizard.progressSteps.map((name, number) => (
          <li
            key={name}
            class={number < step.value ? 'past' : number === step.value && !problem.value ? 'now' : ''}
            aria-current={number === step.value ? 'step' : undefined}
          >
            {name}
          </li>
        ))}
      </ol>
      {problem.value ? (
        <>
          <Notice kind="bad">
            <p>{problem.value}</p>
            <p>{t.wizard.nothingLost}</p>
          </Notice>
          <p class="row">
            <button type="button" class="button" onClick={() => at(REVIEW)}>
              {t.wizard.back}
            </button>
            <Action label={t.again} run={run} kind="primary" />
          </p>
        </>
      ) : (
        <p class="loading" role="status">
          {t.wizard.working}
        </p>
      )}
    </>
  )
}

function Done({ did, title }: { did: Did; title: string }) {
  // Whoever comes back begins anew.
  useEffect(() => form.clear, [])
  return (
    <Page title={t.wizard.doneTitle} lead={t.wizard.doneLead(title)}>
      <Share did={did} />
      <p class="row">
        <button type="button" class="button primary" onClick={() => go(`a/${did}`)}>
          {t.wizard.toAsset}
        </button>
        <button type="button" class="button" onClick={form.clear}>
          {t.wizard.another}
        </button>
      </p>
    </Page>
  )
}

function definition(s: Form, token: string) {
  return makeDefinition({ ...s, perToken: perToken(s) }, token)
}

/** The first thing that is wrong with a step: field and words; null if nothing is. */
function check(s: Form, token: string, step: number): Wrong | null {
  try {
    if (step === 0) {
      if (!s.title.trim()) return ['title', t.errors.missing]
      if (!s.description.trim()) return ['description', t.errors.missing]
      normalTexts({ ...s, notes: '' })
    }
    if (step === 1) definition(s, token)
    if (step === 2) normalTexts({ ...s, title: 'x' })
    if (step === 3) {
      if (!s.offers.length) return ['offers', t.wizard.chooseOne]
      if (s.offers.length > LIMITS.offers) return ['offers', t.wizard.tooManyPlans(LIMITS.offers)]
      for (const offer of s.offers) {
        for (const end of ['min', 'max'] as const)
          if (!/^\d{1,15}$/.test(offer[end].trim())) return [`${end} ${offer.id}`, t.errors.notWhole(0, 10 ** 15 - 1)]
        if (Number(offer.min) > Number(offer.max)) return [`max ${offer.id}`, t.wizard.maxBelowMin]
      }
    }
  } catch (error) {
    if (error instanceof DefinitionInvalid || error instanceof MetadataInvalid)
      return [error.field, t.errors.field(t.wizard.it, error.message)]
    throw error
  }
  return null
}
