/** Sealed to one node, in this browser: definitions (nvm_chain/sealing.py) and questions (nvm_chain/key_check.py). */

import { decrypt, encrypt } from 'eciesjs'
import type { Address, Hex } from 'viem'
import { strings as t } from '../strings'
import { canonicalBytes, type Json } from './canonical'
import type { Definition } from './definition'
import type { Did } from './did'

const BUCKETS = [2, 4, 8, 16, 32, 64, 128].map((kib) => kib * 1024)

export interface Binding {
  did: Did
  owner: Address
  chain_id: number
  registry: Address
  node: Address
  key_version: number
  expires: number
}

/** A question about a key: no definition has its size, nor a purpose. */
const CHECK_SIZE = 12 * 1024

export interface KeyCheck {
  base_url: string
  api_key: string
  model: string
  account: Address
  chain_id: number
  registry: Address
  node: Address
  key_version: number
  expires: number
}

export class TooLongToSeal extends Error {}

/** Base64 of the ciphertext; the definition leaves the browser in no other form. */
export function seal(definition: Definition, binding: Binding, key: { x: Hex; y: Hex }): string {
  const plaintext = canonicalBytes({ v: 1, ...binding, definition: definition as unknown as Json })
  const size = BUCKETS.find((bucket) => plaintext.length <= bucket)
  if (!size) throw new TooLongToSeal(t.texts.tooLongToSeal(plaintext.length, BUCKETS.at(-1) ?? 0))
  return sealPadded(plaintext, size, key)
}

/** Base64 of the sealed question; its key leaves the browser in no other form. */
export function sealCheck(check: KeyCheck, key: { x: Hex; y: Hex }): string {
  return sealPadded(canonicalBytes({ v: 1, purpose: 'check', ...check }), CHECK_SIZE, key)
}

function sealPadded(plaintext: Uint8Array, size: number, key: { x: Hex; y: Hex }): string {
  const padded = new Uint8Array(size).fill(0x20)
  padded.set(plaintext)
  plaintext.fill(0)
  const sealed = encrypt(`04${key.x.slice(2)}${key.y.slice(2)}`, padded)
  padded.fill(0)
  return base64(sealed)
}

/** The plaintext; for tests. */
export function open(ciphertext: string, privateKey: string): string {
  const bytes = Uint8Array.from(atob(ciphertext), (char) => char.charCodeAt(0))
  return new TextDecoder().decode(decrypt(privateKey, bytes))
}

function base64(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000))
  return btoa(text)
}
