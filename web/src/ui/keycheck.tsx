/** The button that has a key tried at its provider, through the node, and what came of it. */

import { useSignal } from '@preact/signals'
import { checkKey } from '../lib/checking'
import { DefinitionInvalid, keyProblem } from '../lib/definition'
import { strings as t } from '../strings'
import { Action, Notice } from './basics'

interface Tried {
  baseUrl: string
  token: string
  model: string
}

export function KeyCheck({ baseUrl, token, model }: Tried) {
  // The answer holds for what was asked, the token as typed included; this page's memory alone has it.
  const found = useSignal<{ of: Tried; good: boolean; text: string } | null>(null)
  const run = async () => {
    found.value = null
    const of = { baseUrl, token, model }
    try {
      const { result, model: listed } = await checkKey(baseUrl, token, model)
      const good = result === 'ok' && listed !== false
      found.value = { of, good, text: listed === false ? t.wizard.notListed(model.trim()) : t.wizard.checked[result] }
    } catch (error) {
      if (!(error instanceof DefinitionInvalid)) throw error
      found.value = { of, good: false, text: t.errors.field(t.wizard.it, error.message) }
    }
  }
  const known = found.value
  const now = known && known.of.baseUrl === baseUrl && known.of.token === token && known.of.model === model
  return (
    <div class="stack">
      <p class="row">
        <Action label={t.wizard.check} run={run} disabled={!!keyProblem(token)} />
        <span class="hint">{t.wizard.checkHint}</span>
      </p>
      <div aria-live="polite">
        {now && (
          <Notice kind={known.good ? 'good' : 'warn'}>
            <p>{known.text}</p>
          </Notice>
        )}
      </div>
    </div>
  )
}
