/** The playground's calls: with a key of its own, kept in this page's memory and good for an hour. */

import { strings as t } from '../strings'
import { api, send } from './node'

let key = ''
let until = 0

async function keyFor(): Promise<string> {
  if (key && Date.now() < until) return key
  const answer = await api<{ key: string }>('POST', 'auth/keys', { name: t.playground.keyName, expires_in: 3600 })
  key = answer.key
  until = Date.now() + 3_500_000
  return key
}

export interface Told {
  text: string
  charged?: number
  left?: number
}

/** Streams an answer. Raises NodeFailed, or Error with what the stream said. */
export async function ask(did: string, input: string, stop: AbortSignal, onText: (told: Told) => void): Promise<void> {
  const headers = { authorization: `Bearer ${await keyFor()}` }
  const answer = await send('POST', 'v1/responses', JSON.stringify({ model: did, input, stream: true }), headers)
  const reader = (answer.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream() as any).getReader()
  stop.addEventListener('abort', () => void reader.cancel())
  const told: Told = { text: '' }
  let rest = ''
  for (;;) {
    const { done, value } = (await reader.read()) as { done: boolean; value?: string }
    if (done) return
    const lines = (rest + value).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const note = /^: x-nvm-credits-(charged|left): (\d+)/.exec(line)
      if (note) told[note[1] as 'charged' | 'left'] = Number(note[2])
      if (!line.startsWith('data: ') || line === 'data: [DONE]') continue
      const event = JSON.parse(line.slice(6))
      if (event.type === 'response.output_text.delta') told.text += event.delta
      if (event.type === 'response.refusal.delta') told.text += event.delta
      if (event.type === 'error' || event.type === 'response.failed')
        throw new Error(event.message ?? event.error?.message ?? event.response?.error?.message ?? t.playground.failed)
    }
    onText({ ...told })
  }
}
