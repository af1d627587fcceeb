/** Texts in their normal form, as nvm_chain/text.py; what is left to refuse, the node refuses. */

import { strings as t } from '../strings'

export class TextInvalid extends Error {}

export function oneLine(text: string, max: number, min = 0): string {
  const value = text
    .replace(/\p{Zs}/gu, ' ')
    .replace(/ +/g, ' ')
    .replace(/^ | $/g, '')
    .normalize('NFC')
  const length = [...value].length
  if (length < min || length > max) throw new TextInvalid(t.texts.length(length, min, max))
  const bad = /[\p{Cc}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u.exec(value)
  if (bad) throw new TextInvalid(t.texts.turns(named(bad[0])))
  return value
}

export function manyLines(text: string, max: number): string {
  const value = text.replace(/\r\n/g, '\n').trim().normalize('NFC')
  const length = [...value].length
  if (length > max) throw new TextInvalid(t.texts.tooLong(length, max))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  const bad = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\ufeff]/.exec(value)
  if (bad) throw new TextInvalid(t.texts.hidden(named(bad[0])))
  return value
}

export function tag(text: string, max = 32): string {
  const joined = text.trim().normalize('NFKC').replace(/\s+/g, '-')
  const value = joined.toLowerCase().replace(/ß/g, 'ss').replace(/ς/g, 'σ').normalize('NFKC')
  const bad = [...value].find((char) => !/[-._+#\p{L}\p{N}\p{M}]/u.test(char))
  if (bad) throw new TextInvalid(t.texts.notInTag(named(bad)))
  return oneLine(value, max, 1)
}

function named(char: string): string {
  return `U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
}
