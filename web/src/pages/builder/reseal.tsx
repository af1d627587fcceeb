/** A new secret for an assistant: the definition is given again, since only the nodes can open the present one. */

import { useSignal } from '@preact/signals'
import type { Asset } from '../../lib/chain'
import { DefinitionInvalid, type Given, keyProblem, makeDefinition, perToken } from '../../lib/definition'
import { publishVersion } from '../../lib/publishing'
import { strings as t } from '../../strings'
import { ADVANCED, Advanced } from '../../ui/advanced'
import { Action, focusWrong, Notice, Radios, Text } from '../../ui/basics'
import { KeyCheck } from '../../ui/keycheck'
import { SecretField } from '../../ui/secret'

const FRESH = {
  ...ADVANCED,
  kind: 'model' as Given['kind'],
  baseUrl: 'https://api.openai.com/v1',
  assistantId: '',
  model: '',
  instructions: '',
}

export function Reseal({ one, onDone }: { one: Asset; onDone: () => void }) {
  const given = useSignal(FRESH)
  const token = useSignal('')
  const open = useSignal(false)
  const set = (change: Partial<typeof FRESH>) => (given.value = { ...given.value, ...change })
  const wrong = useSignal<{ field: string; message: string } | null>(null)
  const error = (field: string) => (wrong.value?.field === field ? wrong.value.message : undefined)
  const made = () => {
    try {
      return makeDefinition({ ...given.value, perToken: perToken(given.value) }, token.value)
    } catch (failure) {
      if (!(failure instanceof DefinitionInvalid)) throw failure
      wrong.value = { field: failure.field, message: t.errors.field(t.wizard.it, failure.message) }
      focusWrong()
      throw new Error(t.errors.inField(wrong.value.message))
    }
  }
  const run = async () => {
    wrong.value = null
    const definition = made()
    await publishVersion(one, { definition }, t.manage.reseal, [t.manage.effects.reseal])
    token.value = ''
    given.value = FRESH
    open.value = false
    onDone()
  }
  const g = given.value
  return (
    <details open={open.value} onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>{t.manage.reseal}</summary>
      <Notice>
        <p>{t.manage.resealNote}</p>
      </Notice>
      <Text
        label={t.wizard.provider}
        value={g.baseUrl}
        onInput={(baseUrl) => set({ baseUrl })}
        mono
        attributes={{ inputMode: 'url', spellcheck: false }}
      />
      <Radios
        label={t.wizard.kind}
        value={g.kind}
        options={[
          ['model', t.wizard.kinds.model],
          ['assistant', t.wizard.kinds.assistant],
        ]}
        onChange={(kind) => set({ kind: kind as Given['kind'] })}
      />
      {g.kind === 'assistant' ? (
        <Text label={t.wizard.assistantId} value={g.assistantId} onInput={(assistantId) => set({ assistantId })} mono />
      ) : (
        <>
          <Text label={t.wizard.model} value={g.model} onInput={(model) => set({ model })} mono />
          <Text
            label={t.wizard.instructions}
            value={g.instructions}
            onInput={(instructions) => set({ instructions })}
            rows={4}
            optional
          />
        </>
      )}
      <SecretField
        label={t.wizard.token}
        hint={t.wizard.tokenHint}
        value={token.value}
        onInput={(value) => (token.value = value)}
        good={!!token.value && !keyProblem(token.value)}
      />
      <KeyCheck baseUrl={g.baseUrl} token={token.value} model={g.kind === 'model' ? g.model : ''} />
      <Advanced s={g} set={set} error={error} />
      <Action label={t.manage.reseal} kind="primary" run={run} />
    </details>
  )
}
