/** Code that calls an assistant. */

import { useSignal } from '@preact/signals'
import { facts } from '../lib/node'
import { strings as t } from '../strings'
import { Code, Tabs } from './basics'

const LANGUAGES = { curl, python, javascript }

export function Samples({ did }: { did: string }) {
  const shown = useSignal<keyof typeof LANGUAGES>('curl')
  return (
    <>
      <Tabs
        label={t.share.language}
        tabs={[
          ['curl', 'curl'],
          ['python', 'Python'],
          ['javascript', 'JavaScript'],
        ]}
        value={shown.value}
        onPick={(key) => (shown.value = key)}
      />
      <Code text={LANGUAGES[shown.value](`${facts().origin}/v1`, did)} label={t.share.call} />
    </>
  )
}

function curl(base: string, did: string): string {
  return `curl ${base}/responses \\
  -H "authorization: Bearer $NVM_KEY" \\
  -H "content-type: application/json" \\
  -d '{"model": "${did}", "input": "hello"}'`
}

function python(base: string, did: string): string {
  return `import os
from openai import OpenAI

client = OpenAI(base_url="${base}", api_key=os.environ["NVM_KEY"])
answer = client.responses.create(
    model="${did}",
    input="hello",
)
print(answer.output_text)`
}

function javascript(base: string, did: string): string {
  return `import OpenAI from 'openai'

const client = new OpenAI({ baseURL: '${base}', apiKey: process.env.NVM_KEY })
const answer = await client.responses.create({
  model: '${did}',
  input: 'hello',
})
console.log(answer.output_text)`
}
