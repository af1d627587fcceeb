/** What was typed, kept in this tab until it is done: it survives a reload, and nothing secret is in it. */

import { signal } from '@preact/signals'

export function draft<T extends object>(name: string, fresh: () => T) {
  const key = `nvm.draft.${name}`
  let kept: Partial<T> = {}
  try {
    kept = JSON.parse(sessionStorage.getItem(key) ?? '{}')
  } catch {
    // A draft of an older console: begin anew.
  }
  const state = signal<T>({ ...fresh(), ...kept })
  return {
    state,
    set(change: Partial<T>) {
      state.value = { ...state.value, ...change }
      sessionStorage.setItem(key, JSON.stringify(state.value))
    },
    clear() {
      state.value = fresh()
      sessionStorage.removeItem(key)
    },
  }
}
