// Does with eciesjs, as a browser would, what stdin asks for: {"encrypt": [{key, plaintext}], "decrypt": [{key, ciphertext}]}.
// Keys are hex, plaintext is text, ciphertext is base64; null where decryption fails.
import { readFileSync } from 'node:fs'
import { decrypt, encrypt } from 'eciesjs'

const jobs = JSON.parse(readFileSync(0, 'utf8'))
const open = ({ key, ciphertext }) => {
  try {
    return new TextDecoder().decode(decrypt(key, Buffer.from(ciphertext, 'base64')))
  } catch {
    return null
  }
}
console.log(JSON.stringify({
  encrypt: (jobs.encrypt ?? []).map(({ key, plaintext }) =>
    Buffer.from(encrypt(key, new TextEncoder().encode(plaintext))).toString('base64')),
  decrypt: (jobs.decrypt ?? []).map(open)
}))
