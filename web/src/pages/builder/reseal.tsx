/** A new secret for an assistant: the definition is given again, since only the nodes can open the present one. */

import { useSignal } from '@preact/signals'
import type { Asset } from '../../lib/chain'
import { type Given, keyProblem, makeDefinition } from '../../lib/definition'
import { publishVersion } from '../../lib/publishing'
import { strings as t } from '../../strings'
import { Action, Notice, Radios, Text } from '../../ui/basics'
import { SecretField } from '../../ui/secret'

const FRESH: Given = {
  kind: 'model',
  dialect: 'responses',
  baseUrl: 'https://api.openai.com/v1',
  assistantId: '',
  model: '',
  instructions: '',
  tools: '',
  settings: '',
  policy: {},
  perToken: null,
}

export function Reseal({ one, onDone }: { one: Asset; onDone: () => void }) {
  const given = useSignal<Given>(FRESH)
  const token = useSignal('')
  const open = useSignal(false)
  const set = (change: Partial<Given>) => (given.value = { ...given.value, ...change })
  const run = async () => {
    const definition = makeDefinition(given.value, token.value)
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
      <Text
        label={t.wizard.tools}
        value={g.tools}
        onInput={(tools) => set({ tools })}
        rows={2}
        mono
        optional
        hint={t.wizard.toolsHint}
      />
      <Text
        label={t.wizard.settings}
        value={g.settings}
        onInput={(settings) => set({ settings })}
        rows={2}
        mono
        optional
        hint={t.wizard.settingsHint}
      />
      <SecretField
        label={t.wizard.token}
        hint={t.wizard.tokenHint}
        value={token.value}
        onInput={(value) => (token.value = value)}
        good={!!token.value && !keyProblem(token.value)}
      />
      <Action label={t.manage.reseal} kind="primary" run={run} />
    </details>
  )
}
