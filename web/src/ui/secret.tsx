/** A field for a secret that will be sealed: hidden, never completed or corrected by the browser. */

import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { strings as t } from '../strings'
import { Field } from './basics'

export function SecretField({
  label,
  hint,
  value,
  onInput,
  error,
  good,
}: {
  label: string
  hint: ComponentChildren
  value: string
  onInput: (value: string) => void
  error?: string
  good: boolean
}) {
  const open = useSignal(false)
  useEffect(() => {
    // While it is typed; if that fails, sealing tries again and says so.
    import('../lib/sealing').catch(() => null)
  }, [])
  return (
    <Field label={label} hint={hint} error={error}>
      {(field) => (
        <div class="row">
          <input
            {...field}
            type={(open.value ? 'text' : 'password') as 'password'}
            class="mono"
            value={value}
            autocomplete="off"
            data-1p-ignore
            data-lpignore="true"
            spellcheck={false}
            onInput={(event) => onInput(event.currentTarget.value)}
          />
          <button type="button" class="button" aria-pressed={open.value} onClick={() => (open.value = !open.value)}>
            {open.value ? t.hide : t.show}
          </button>
          <span class="good-mark" role="status">
            {good ? t.wizard.tokenGood : ''}
          </span>
        </div>
      )}
    </Field>
  )
}
