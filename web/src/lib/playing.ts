/** The playground's calls: with a key of its own, kept in this page's memory, good for an hour and for one wallet. */

import { effect } from '@preact/signals'
import type { Address } from 'viem'
import { strings as t } from '../strings'
import { api, NodeFailed, send } from './node'
import { signedIn } from './session'
import { account } from './wallet'

let held: { of: Address; key: string; until: number } | null = null

effect(() => {
  if (!signedIn() || held?.of !== account.value) held = null
})

async function keyFor(): Promise<string> {
  const of = account.value as Address
  if (held && held.of === of && Date.now() < held.until) return held.key
  const { key } = await api<{ key: string }>('POST', 'auth/keys', { name: t.playground.keyName, expires_in: 3600 })
  if (account.value === of && signedIn()) held = { of, key, until: Date.now() + 3_500_000 }
  return key
}

export interface Told {
  text: string
  charged?: number
  left?: number
}

/** Streams an answer, until it ends or is stopped. Raises NodeFailed, or Error with what the stream said. */
export async function ask(did: string, input: string, stop: AbortSignal, onText: (told: Told) => void): Promise<void> {
  try {
    const headers = { authorization: `Bearer ${await keyFor()}` }
    if (stop.aborted) return
    const body = JSON.stringify({ model: did, input, stream: true })
    const answer = await send('POST', 'v1/responses', body, headers, stop)
    const whole = await follow(answer.body as ReadableStream<Uint8Array>, onText)
    if (!whole) throw new Error(t.playground.brokeOff)
  } catch (error) {
    if (stop.aborted) return
    // What fetch itself raises while the body is read is in the browser's words.
    throw error instanceof TypeError ? new NodeFailed(t.playground.brokeOff, 0, 'unreachable') : error
  }
}

/** Whether the answer came to its end. */
async function follow(body: ReadableStream<Uint8Array>, onText: (told: Told) => void): Promise<boolean> {
  const reader = body.pipeThrough(new TextDecoderStream() as any).getReader()
  const told: Told = { text: '' }
  let [rest, whole] = ['', false]
  for (;;) {
    const { done, value } = (await reader.read()) as { done: boolean; value?: string }
    if (done) return whole
    const lines = (rest + value).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const note = /^: x-nvm-credits-(charged|left): (\d+)/.exec(line)
      if (note) told[note[1] as 'charged' | 'left'] = Number(note[2])
      if (!line.startsWith('data: ') || line === 'data: [DONE]') continue
      const event = JSON.parse(line.slice(6))
      if (event.type === 'response.output_text.delta') told.text += event.delta
      if (event.type === 'response.refusal.delta') told.text += event.delta
      if (event.type === 'response.completed' || event.type === 'response.incomplete') whole = true
      if (event.type === 'error' || event.type === 'response.failed')
        throw new Error(event.message ?? event.error?.message ?? event.response?.error?.message ?? t.playground.failed)
    }
    onText({ ...told })
  }
}
