/** A new secret for an assistant: the definition is given again, since only the nodes can open the present one. */

import { useSignal } from '@preact/signals'
import type { Asset } from '../../lib/chain'
import { DefinitionInvalid, type Given, keyProblem, makeDefinition, perToken } from '../../lib/definition'
import { publishVersion } from '../../lib/publishing'
import { strings as t } from '../../strings'
import { ADVANCED, Advanced } from '../../ui/advanced'
import { Action, focusWrong, Notice, Radios, Text, useWrong, type Wrong } from '../../ui/basics'
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
  const made = () => makeDefinition({ ...given.value, perToken: perToken(given.value) }, token.value)
  const look = (): Wrong | null => {
    try {
      made()
    } catch (failure) {
      if (!(failure instanceof DefinitionInvalid)) throw failure
      return [failure.field, t.errors.field(t.wizard.it, failure.message)]
    }
    return null
  }
  const { error, fail } = useWrong(look, () => [given.value, token.value])
  const run = async () => {
    const problem = look()
    if (problem) {
      fail(...problem)
      focusWrong()
      throw new Error(t.errors.inField(problem[1]))
    }
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
        error={error('base_url')}
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
        <Text
          label={t.wizard.assistantId}
          value={g.assistantId}
          onInput={(assistantId) => set({ assistantId })}
          error={error('assistant_id')}
          mono
        />
      ) : (
        <>
          <Text
            label={t.wizard.model}
            value={g.model}
            onInput={(model) => set({ model })}
            error={error('model')}
            mono
          />
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
        error={error('api_key')}
        good={!!token.value && !keyProblem(token.value)}
      />
      <KeyCheck baseUrl={g.baseUrl} token={token.value} model={g.kind === 'model' ? g.model : ''} />
      <Advanced s={g} set={set} error={error} />
      <Action label={t.manage.reseal} kind="primary" run={run} />
    </details>
  )
}
