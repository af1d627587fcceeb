/** Tools, settings, permissions and prices of an assistant: the same where one is made and where one is sealed anew. */

import type { Dialect } from '../lib/definition'
import { strings as t } from '../strings'
import { Check, Choice, Text } from './basics'

export interface AdvancedForm {
  kind: 'model' | 'assistant'
  dialect: Exclude<Dialect, 'assistants'>
  tools: string
  settings: string
  policy: Record<string, boolean>
  byTokens: boolean
  inputPrice: string
  outputPrice: string
}

export const ADVANCED: Omit<AdvancedForm, 'kind'> = {
  dialect: 'responses',
  tools: '',
  settings: '',
  policy: {},
  byTokens: false,
  inputPrice: '100',
  outputPrice: '400',
}

export function Advanced({
  s,
  set,
  error,
}: {
  s: AdvancedForm
  set: (change: Partial<AdvancedForm>) => void
  error: (field: string) => string | undefined
}) {
  return (
    <details>
      <summary>{t.wizard.more}</summary>
      {s.kind === 'model' && (
        <Choice
          label={t.wizard.dialect}
          value={s.dialect}
          options={[
            ['responses', t.wizard.dialects.responses],
            ['responses-stateless', t.wizard.dialects.stateless],
            ['chat', t.wizard.dialects.chat],
          ]}
          onChange={(dialect) => set({ dialect: dialect as AdvancedForm['dialect'] })}
        />
      )}
      <Text
        label={t.wizard.tools}
        value={s.tools}
        onInput={(tools) => set({ tools })}
        rows={3}
        mono
        optional
        hint={t.wizard.toolsHint}
        error={error('tools')}
      />
      <Text
        label={t.wizard.settings}
        value={s.settings}
        onInput={(settings) => set({ settings })}
        rows={2}
        mono
        optional
        hint={t.wizard.settingsHint}
        error={error('settings')}
      />
      <fieldset>
        <legend>{t.wizard.policy}</legend>
        {Object.entries(t.wizard.policies).map(([name, label]) => (
          <Check
            key={name}
            label={label}
            checked={s.policy[name] ?? false}
            onChange={(on) => set({ policy: { ...s.policy, [name]: on } })}
          />
        ))}
      </fieldset>
      <fieldset>
        <legend>{t.wizard.pricing}</legend>
        <Check label={t.wizard.byTokens} checked={s.byTokens} onChange={(byTokens) => set({ byTokens })} />
        {s.byTokens && (
          <div class="columns">
            <Text
              label={t.wizard.inputPrice}
              value={s.inputPrice}
              onInput={(inputPrice) => set({ inputPrice })}
              error={error('pricing')}
              attributes={{ inputMode: 'numeric' }}
            />
            <Text
              label={t.wizard.outputPrice}
              value={s.outputPrice}
              onInput={(outputPrice) => set({ outputPrice })}
              attributes={{ inputMode: 'numeric' }}
            />
          </div>
        )}
      </fieldset>
    </details>
  )
}
