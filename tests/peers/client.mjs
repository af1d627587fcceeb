// Drives the npm `openai` package, unmodified: calls on standard input, one JSON line each, answers on standard output.
//   {"method": "chat.completions.create", "arguments": [{…}], "as": "value" | "events" | "page" | "final"}
// A file among the arguments is {"$file": {"name", "base64"}}; bytes in an answer are {"base64"}.
import readline from 'node:readline'
import OpenAI, { toFile } from 'openai'

const [baseURL, apiKey] = process.argv.slice(2)
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 })

async function collect(iterable) {
  const all = []
  for await (const one of iterable) all.push(one)
  return all
}

async function run({ method, arguments: given, as }) {
  const path = method.split('.')
  const name = path.pop()
  const owner = path.reduce((object, part) => object[part], client)
  const pending = owner[name](...(await Promise.all(given.map(withFile))))
  if (as === 'final') return await finalOf(pending)
  const answer = await pending
  if (as === 'events' || as === 'page') return await collect(answer)
  if (answer instanceof Response) return { base64: Buffer.from(await answer.arrayBuffer()).toString('base64') }
  return answer
}

async function withFile(argument) {
  const file = argument?.file?.$file
  return file ? { ...argument, file: await toFile(Buffer.from(file.base64, 'base64'), file.name) } : argument
}

// What the stream helpers put together out of the events.
async function finalOf(stream) {
  for (const name of ['finalResponse', 'finalChatCompletion', 'finalRun']) {
    if (typeof stream[name] === 'function') return await stream[name]()
  }
  throw new Error('this is no helper that streams')
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  let told
  try {
    told = { value: (await run(JSON.parse(line))) ?? null }
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) {
      told = { broken: String(error?.stack ?? error) }
    } else {
      const { status, code, param, type, message } = error
      told = { error: { class: error.constructor.name, status, code, param, type, message, body: error.error } }
    }
  }
  process.stdout.write(JSON.stringify(told) + '\n')
}
