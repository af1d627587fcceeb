/** JSON in one form (RFC 8785), as nvm_chain/canonical.py writes it. */

import { strings as t } from '../strings'

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

/** Raises a TypeError for what JSON or a 53-bit integer can't hold. */
export function canonical(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return quoted(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(t.json.notFinite)
    if (Number.isInteger(value) && Math.abs(value) < 1e21 && !Number.isSafeInteger(value))
      throw new TypeError(t.json.tooLarge)
    return JSON.stringify(value)
  }
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object') throw new TypeError(t.json.notAValue(typeof value))
  // Sorted by UTF-16 code units, which is what < does in JavaScript.
  const names = Object.keys(value).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  return `{${names.map((name) => `${quoted(name)}:${canonical(value[name] as Json)}`).join(',')}}`
}

export function canonicalBytes(value: Json): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(canonical(value))
}

function quoted(text: string): string {
  if (/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/.test(text))
    throw new TypeError(t.json.surrogate)
  return JSON.stringify(text)
}
