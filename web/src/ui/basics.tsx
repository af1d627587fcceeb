/** The few pieces that every page is made of. */

import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useCallback, useEffect, useId, useRef, useState } from 'preact/hooks'
import { searchedPercent } from '../lib/rpc'
import { message } from '../lib/tx'
import { Rejected } from '../lib/wallet'
import { strings as t } from '../strings'

export function Page({ title, lead, children }: { title: string; lead?: string; children: ComponentChildren }) {
  useEffect(() => {
    document.title = `${title} · ${t.product}`
  }, [title])
  return (
    <div class="page">
      <header class="title">
        <h1 tabIndex={-1}>{title}</h1>
        {lead && <p class="lead">{lead}</p>}
      </header>
      {children}
    </div>
  )
}

export function Card({
  title,
  children,
  class: name = '',
}: {
  title?: string
  children: ComponentChildren
  class?: string
}) {
  return (
    <section class={`card ${name}`}>
      {title && <h2>{title}</h2>}
      {children}
    </section>
  )
}

/** A person can't go on: what happened. kind `note` is a plain remark. */
export function Notice({
  kind = 'note',
  children,
}: {
  kind?: 'note' | 'good' | 'bad' | 'warn'
  children: ComponentChildren
}) {
  return (
    <div class={`notice ${kind}`} role={kind === 'bad' ? 'alert' : 'note'}>
      {children}
    </div>
  )
}

interface FieldProps {
  label: string
  hint?: ComponentChildren
  error?: string
  optional?: boolean
  children: (props: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: 'true' }) => ComponentChildren
}

export function Field({ label, hint, error, optional, children }: FieldProps) {
  const id = useId()
  const about = [hint ? `${id}-hint` : '', error ? `${id}-error` : ''].filter(Boolean).join(' ')
  return (
    <div class="field">
      <label for={id}>
        {label}
        {optional && <span class="quiet"> {t.optional}</span>}
      </label>
      {children({ id, 'aria-describedby': about || undefined, 'aria-invalid': error ? 'true' : undefined })}
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p class="error" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  )
}

interface TextProps {
  label: string
  value: string
  onInput: (value: string) => void
  hint?: ComponentChildren
  error?: string
  optional?: boolean
  rows?: number
  mono?: boolean
  max?: number
  attributes?: { inputMode?: 'numeric' | 'decimal' | 'url'; spellcheck?: boolean }
  /** What Enter does in a field of several lines, where Shift+Enter starts a new one. */
  onEnter?: () => void
  /** Whether the person is taken here when it appears. */
  focus?: boolean
}

export function Text(props: TextProps) {
  const { label, value, onInput, hint, error, optional, rows, mono, max, attributes, onEnter, focus } = props
  const area = useRef<HTMLTextAreaElement>(null)
  useEffect(() => {
    if (focus) area.current?.focus()
  }, [])
  const onKeyDown = (event: KeyboardEvent) => {
    if (!onEnter || event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    event.preventDefault()
    onEnter()
  }
  return (
    <Field label={label} hint={hint} error={error} optional={optional}>
      {(props) => {
        const all = { ...props, ...attributes, maxLength: max, class: mono ? 'mono' : '', value }
        return rows ? (
          <textarea
            {...(all as any)}
            ref={area}
            rows={rows}
            onKeyDown={onKeyDown}
            onInput={(event) => onInput(event.currentTarget.value)}
          />
        ) : (
          <input type="text" {...(all as any)} onInput={(event) => onInput(event.currentTarget.value)} />
        )
      }}
    </Field>
  )
}

interface ChoiceProps {
  label: string
  value: string
  options: [value: string, label: string][]
  onChange: (value: string) => void
  hint?: ComponentChildren
}

export function Choice({ label, value, options, onChange, hint }: ChoiceProps) {
  return (
    <Field label={label} hint={hint}>
      {(props) => (
        <select {...props} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
          {options.map(([one, name]) => (
            <option key={one} value={one} selected={one === value}>
              {name}
            </option>
          ))}
        </select>
      )}
    </Field>
  )
}

/** A few choices, all in sight. */
export function Radios({ label, value, options, onChange }: Omit<ChoiceProps, 'hint'>) {
  const name = useId()
  return (
    <fieldset class="radios">
      <legend>{label}</legend>
      <div>
        {options.map(([one, text]) => (
          <label key={one}>
            <input type="radio" name={name} value={one} checked={one === value} onChange={() => onChange(one)} />
            <span>{text}</span>
          </label>
        ))}
      </div>
    </fieldset>
  )
}

export function Check({
  label,
  checked,
  onChange,
}: {
  label: string
  checked: boolean
  onChange: (on: boolean) => void
}) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} /> {label}
    </label>
  )
}

export type Wrong = [field: string, message: string]

/** What is wrong with a field of a form, for as long as it is: `look` finds the first thing that is, and is asked again
 * once `state`, the form's values, isn't what it was when the field was found wrong. */
export function useWrong(look: () => Wrong | null, state: () => unknown[]) {
  const found = useSignal<{ wrong: Wrong; state: unknown[] } | null>(null)
  const error = (field: string) => {
    if (found.value?.wrong[0] !== field) return undefined
    const before = found.value.state
    const same = state().every((value, at) => value === before[at])
    const now = same ? found.value.wrong : look()
    return now?.[0] === field ? now[1] : undefined
  }
  const fail = (...wrong: Wrong): void => {
    found.value = { wrong, state: state() }
  }
  const clear = () => {
    found.value = null
  }
  return { error, fail, clear, any: () => found.value && error(found.value.wrong[0]) }
}

/** Takes the person to the first field that is wrong, and opens what hides it. lost: called where none shows. */
export function focusWrong(lost?: () => void) {
  requestAnimationFrame(() => {
    const field = document.querySelector<HTMLElement>('main [aria-invalid=true]')
    for (let at = field?.closest('details'); at; at = at.parentElement?.closest('details')) at.open = true
    field?.focus()
    if (!document.querySelector('main .error')) lost?.()
  })
}

/** Shows that it works while it does; what goes wrong is said below it. */
export function Action({
  label,
  run,
  kind = '',
  disabled,
  onError,
}: {
  label: ComponentChildren
  run: () => Promise<unknown> | unknown
  kind?: '' | 'primary' | 'quiet-button' | 'danger'
  disabled?: boolean
  onError?: (error: unknown) => void
}) {
  const { busy, problem, start } = useWork(run, onError)
  return (
    <>
      <button type="button" class={`button ${kind}`} disabled={disabled || busy} aria-busy={busy} onClick={start}>
        {label}
      </button>
      {problem && !onError && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
    </>
  )
}

export function useWork(run: () => Promise<unknown> | unknown, onError?: (error: unknown) => void) {
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState('')
  const alive = useRef(true)
  useEffect(
    () => () => {
      alive.current = false
    },
    [],
  )
  const start = async () => {
    setBusy(true)
    setProblem('')
    try {
      await run()
    } catch (error) {
      if (!(error instanceof Error)) console.error(error)
      onError?.(error)
      if (alive.current) setProblem(error instanceof Rejected ? t.errors.rejected : message(error))
    } finally {
      if (alive.current) setBusy(false)
    }
  }
  return { busy, problem, start }
}

export interface Loaded<T> {
  value: T | undefined
  problem: string
  again: () => void
}

/** Loads something whenever `key` changes, and again on demand; an older answer never replaces a newer one. */
export function useLoad<T>(load: () => Promise<T>, key: unknown): Loaded<T> {
  const [value, setValue] = useState<T>()
  const [problem, setProblem] = useState('')
  const [turn, setTurn] = useState(0)
  const held = useRef(load)
  held.current = load
  useEffect(() => {
    let current = true
    setProblem('')
    held.current().then(
      (found) => current && setValue(() => found),
      (error) => current && setProblem(message(error)),
    )
    return () => {
      current = false
    }
  }, [key, turn])
  const again = useCallback(() => setTurn((now) => now + 1), [])
  return { value, problem, again }
}

function Working() {
  const percent = searchedPercent()
  return <>{percent === null ? t.loading : t.searching(percent)}</>
}

/** What was loaded, or that it loads, or why it can't; what was there before stays beside the reason. */
export function Await<T>({ of, children }: { of: Loaded<T>; children: (value: T) => ComponentChildren }) {
  return (
    <>
      {of.problem && (
        <Notice kind="bad">
          <p>{of.problem}</p>
          <button type="button" class="button" onClick={of.again}>
            {t.again}
          </button>
        </Notice>
      )}
      {of.value !== undefined && children(of.value)}
      {of.value === undefined && !of.problem && (
        <p class="loading" role="status">
          <Working />
        </p>
      )}
    </>
  )
}

export function Code({ text, label }: { text: string; label: string }) {
  const box = useRef<HTMLPreElement>(null)
  const [said, say] = useState(t.copy)
  const copy = async () => {
    say((await copied(text, box.current)) ? t.copied : t.selected)
    setTimeout(() => say(t.copy), 1500)
  }
  return (
    <div class="code">
      <button type="button" class="button small" onClick={copy}>
        <span aria-live="polite">{said}</span>
      </button>
      <pre ref={box} tabIndex={0} role="region" aria-label={label}>
        <code>{text}</code>
      </pre>
    </div>
  )
}

/** Whether the text is in the clipboard; else it is selected. Over plain http there is no clipboard for scripts. */
async function copied(text: string, shown: HTMLElement | null): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    if (shown) getSelection()?.selectAllChildren(shown)
    return document.execCommand('copy')
  }
}

export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  )
}

export function Tags({ tags, onPick }: { tags: string[]; onPick?: (tag: string) => void }) {
  if (!tags.length) return null
  return (
    <ul class="tags" aria-label={t.tags}>
      {tags.map((tag) => (
        <li key={tag}>
          {onPick ? (
            <button type="button" class="tag" onClick={() => onPick(tag)}>
              {tag}
            </button>
          ) : (
            <span class="tag">{tag}</span>
          )}
        </li>
      ))}
    </ul>
  )
}

export function Tabs<K extends string>({
  label,
  tabs,
  value,
  onPick,
}: {
  label: string
  tabs: [K, string][]
  value: K
  onPick: (key: K) => void
}) {
  const move = (event: KeyboardEvent, at: number) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0
    const next = step && tabs[(at + step + tabs.length) % tabs.length]
    if (!next) return
    onPick(next[0])
    const row = (event.currentTarget as HTMLElement).parentElement
    requestAnimationFrame(() => row?.querySelector<HTMLElement>('[aria-selected=true]')?.focus())
  }
  return (
    <div class="tabs" role="tablist" aria-label={label}>
      {tabs.map(([key, name], at) => (
        <button
          key={key}
          type="button"
          role="tab"
          aria-selected={key === value}
          tabIndex={key === value ? 0 : -1}
          onClick={() => onPick(key)}
          onKeyDown={(event) => move(event, at)}
        >
          {name}
        </button>
      ))}
    </div>
  )
}

/** onClose: what Escape does; without it, only the dialog's own buttons end it. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string
  onClose?: () => void
  children: ComponentChildren
}) {
  const box = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const one = box.current
    let there = true
    // A browser closes it at a second Escape, whatever it is told.
    const reopen = () => there && !one?.open && one?.showModal()
    one?.addEventListener('close', reopen)
    one?.showModal()
    return () => {
      there = false
      one?.close()
    }
  }, [])
  return (
    <dialog
      ref={box}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault()
        onClose?.()
      }}
    >
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  )
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="empty">{children}</div>
}
