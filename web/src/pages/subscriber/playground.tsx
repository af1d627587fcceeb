/** Try an assistant; its answer streams. */

import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { short } from '../../lib/amounts'
import { api, NodeFailed } from '../../lib/node'
import { ask, type Told } from '../../lib/playing'
import { restate, route } from '../../lib/route'
import { account } from '../../lib/wallet'
import { strings as t } from '../../strings'
import { Await, Card, Choice, Empty, Notice, Text, useLoad, useWork } from '../../ui/basics'

interface Model {
  id: string
  title?: string
}

export function Playground() {
  const models = useLoad(() => openAssistants(), account.value)
  return (
    <Await of={models}>
      {(data) =>
        data.length ? (
          <Play models={data} />
        ) : (
          <Empty>
            <p>{t.playground.none}</p>
            <p>
              <a class="button primary" href="#/">
                {t.me.toMarket}
              </a>
            </p>
          </Empty>
        )
      }
    </Await>
  )
}

/** The assistants that the wallet's plans open. */
async function openAssistants(): Promise<Model[]> {
  const { plans } = await api<{ plans: { credits_left: number; assistants: string[] }[] }>('GET', 'v1/account')
  const dids = [...new Set(plans.filter((one) => one.credits_left > 0).flatMap((one) => one.assistants))]
  const all = await api<{ data: { did: string; title: string }[] }>('GET', 'catalogue?limit=100')
  return dids.map((id) => ({ id, title: all.data.find((one) => one.did === id)?.title }))
}

function Play({ models }: { models: Model[] }) {
  const asked = route.value.query.get('did')
  const did = models.some((one) => one.id === asked) ? (asked as string) : (models[0]?.id ?? '')
  const input = useSignal('')
  const told = useSignal<Told | null>(null)
  const running = useSignal(false)
  const stop = useRef<AbortController | null>(null)
  useEffect(() => () => stop.current?.abort(), [])
  const run = async () => {
    if (!input.value.trim()) return
    told.value = { text: '' }
    running.value = true
    stop.current = new AbortController()
    try {
      await ask(did, input.value, stop.current.signal, (now) => (told.value = now))
    } catch (error) {
      if (error instanceof NodeFailed && error.code === 'voucher_required') throw new Error(t.playground.voucher)
      throw error
    } finally {
      running.value = false
    }
  }
  const { busy, problem, start } = useWork(run)
  return (
    <Card>
      <Choice
        label={t.playground.assistant}
        value={did}
        options={models.map((one) => [one.id, one.title ? `${one.title} (${short(one.id)})` : short(one.id)])}
        onChange={(did) => restate('me', { tab: 'playground', did })}
      />
      <Text
        label={t.playground.input}
        value={input.value}
        onInput={(value) => (input.value = value)}
        hint={t.playground.keys}
        rows={4}
        focus={asked !== null}
        onEnter={() => !busy && start()}
      />
      <p class="quiet">{t.playground.note}</p>
      <div class="row">
        <button type="button" class="button primary" disabled={busy} aria-busy={busy} onClick={start}>
          {t.playground.go}
        </button>
        {problem && (
          <p class="error" role="alert">
            {problem}
          </p>
        )}
        {running.value && (
          <button type="button" class="button" onClick={() => stop.current?.abort()}>
            {t.playground.stop}
          </button>
        )}
      </div>
      {told.value && (
        <section class="answer" aria-label={t.playground.answer} aria-live="polite" aria-busy={running.value}>
          <p class="pre">{told.value.text || (running.value ? '…' : '')}</p>
          {told.value.charged !== undefined && (
            <Notice kind="good">
              <p>{t.playground.charged(told.value.charged, told.value.left)}</p>
            </Notice>
          )}
        </section>
      )}
    </Card>
  )
}
