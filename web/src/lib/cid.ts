/** CIDs of our blocks: version 1, raw, sha2-256, base32 (`bafkrei…`), as nvm_chain/cid.py. */

import { bytesToHex, type Hex, hexToBytes } from 'viem'

const HEAD = [0x01, 0x55, 0x12, 0x20]
const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567'

export async function digestOf(block: Uint8Array<ArrayBuffer>): Promise<Hex> {
  return bytesToHex(new Uint8Array(await crypto.subtle.digest('SHA-256', block)))
}

export function cidOf(digest: Hex): string {
  const bytes = [...HEAD, ...hexToBytes(digest)]
  let text = 'b'
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      text += LETTERS[(value >>> (bits - 5)) & 31]
      bits -= 5
    }
    value &= (1 << bits) - 1
  }
  return bits ? text + LETTERS[(value << (5 - bits)) & 31] : text
}
