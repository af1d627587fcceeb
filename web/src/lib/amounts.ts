/** Money and time in words. Exact integers; no floating point touches an amount. */

import { strings as t } from '../strings'

/** Base units of a decimal text. Raises RangeError where it isn't one, or a digit would be lost. */
export function parseUnits(text: string, decimals: number): bigint {
  const match = /^(\d{1,60})(?:\.(\d*))?$|^\.(\d+)$/.exec(text.trim())
  if (!match) throw new RangeError(t.errors.notANumber)
  const fraction = (match[2] ?? match[3] ?? '').replace(/0+$/, '')
  if (fraction.length > decimals) throw new RangeError(t.errors.tooManyDigits(decimals))
  return BigInt(match[1] ?? '0') * 10n ** BigInt(decimals) + BigInt(fraction.padEnd(decimals, '0') || '0')
}

/** The exact decimal. */
export function formatUnits(amount: bigint, decimals: number): string {
  const digits = amount.toString().padStart(decimals + 1, '0')
  const whole = decimals ? digits.slice(0, -decimals) : digits
  const fraction = decimals ? digits.slice(-decimals).replace(/0+$/, '') : ''
  return grouped(whole) + (fraction ? `.${fraction}` : '')
}

/** At most six digits that count, for amounts of which nobody needs them all; rounded up. */
export function aboutUnits(amount: bigint, decimals: number): string {
  const digits = amount.toString().length
  const drop = BigInt(Math.max(0, Math.min(digits - 4, decimals - 2)))
  const step = 10n ** drop
  return formatUnits(((amount + step - 1n) / step) * step, decimals)
}

export function grouped(number: bigint | number | string): string {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f')
}

const SPANS: [number, keyof typeof t.spans][] = [
  [31_536_000, 'year'],
  [2_592_000, 'month'],
  [86_400, 'day'],
  [3_600, 'hour'],
  [60, 'minute'],
  [1, 'second'],
]

/** A duration in the largest unit that it is a whole number of. */
export function span(seconds: number): string {
  for (const [size, name] of SPANS) if (seconds && seconds % size === 0) return t.spans[name](seconds / size)
  return t.spans.second(0)
}

/** A rough duration, for what is left of something: never more than there is, and at most a third less. */
export function roughly(seconds: number): string {
  for (const [size, name] of SPANS)
    if (name !== 'month' && (seconds >= 3 * size || size === 1)) return t.spans[name](Math.floor(seconds / size))
  return t.spans.second(0)
}

export function date(seconds: number | bigint): string {
  const options = { dateStyle: 'medium', timeStyle: 'short' } as const
  return new Intl.DateTimeFormat('en-GB', options).format(new Date(Number(seconds) * 1000))
}

export function short(text: string): string {
  return text.length > 20 ? `${text.slice(0, text.startsWith('did:') ? 13 : 8)}…${text.slice(-6)}` : text
}
