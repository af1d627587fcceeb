/** What gets sealed, and the form of its fields, as nvm_chain/definition.py checks them. */

import { strings as t } from '../strings'
import type { Json } from './canonical'

export type Dialect = 'responses' | 'responses-stateless' | 'chat' | 'assistants'

export interface Definition {
  dialect: Dialect
  base_url: string
  api_key: string
  model: string
  instructions: string
  tools: Json[]
  settings: { [name: string]: Json }
  assistant_id: string | null
  allow_http: boolean
  policy: { [name: string]: Json }
  pricing: { [name: string]: Json }
}

/** A field of the definition has the wrong form. Never holds the key. */
export class DefinitionInvalid extends Error {
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(message)
  }
}

const NAME = /^[!-~]{1,200}$/
const MAX_KEY = 4096
const MAX_TOOLS = 128

const POLICY = {
  function_tools: false,
  temperature: false,
  top_p: false,
  reasoning: false,
  max_output_tokens: null,
  extra_instructions: false,
  metadata: true,
  images: false,
  files: false,
  structured_output: false,
  unknown_fields: false,
}
const FIXED = { mode: 'fixed', call: 0, input: 0, cached_input: 0, output: 0, reasoning: 0, tool_calls: {} }

export interface Given {
  kind: 'model' | 'assistant'
  dialect: Exclude<Dialect, 'assistants'>
  baseUrl: string
  assistantId: string
  model: string
  instructions: string
  tools: string
  settings: string
  policy: { [name: string]: boolean }
  /** Micro-credits per token; null = every access costs the offer's minimum. */
  perToken: { input: number; output: number } | null
}

/** The prices that a form holds. Raises DefinitionInvalid. */
export function perToken(form: { byTokens: boolean; inputPrice: string; outputPrice: string }): Given['perToken'] {
  return form.byTokens ? { input: micro(form.inputPrice), output: micro(form.outputPrice) } : null
}

function micro(text: string): number {
  if (!/^\d{1,15}$/.test(text.trim())) throw new DefinitionInvalid('pricing', t.errors.notWhole(0, 10 ** 15 - 1))
  return Number(text)
}

/** What is wrong with a provider's key, in words that don't hold it; null if nothing is. */
export function keyProblem(key: string): string | null {
  if (!key) return t.key.empty
  if (key !== key.trim()) return t.key.space
  if (/^["'`“‘«]|["'`”’»]$/.test(key)) return t.key.quotes
  if (/^(bearer |authorization:|basic )/i.test(key)) return t.key.header
  if (/^[A-Z][A-Z0-9_]*(KEY|TOKEN)=/.test(key)) return t.key.assignment
  if (/^[$<{]/.test(key)) return t.key.placeholder
  if (!/^[!-~]+$/.test(key)) return t.key.characters
  if (key.length > MAX_KEY) return t.texts.tooLong(key.length, MAX_KEY)
  return null
}

/** The provider's address in its normal form. Raises DefinitionInvalid. */
export function baseUrl(text: string): string {
  const fail = (message: string) => new DefinitionInvalid('base_url', message)
  if (/^[a-z]+:\/\/[^/]*@/i.test(text)) throw fail(t.definition.credentials)
  if (!/^[!-~]{1,500}$/.test(text) || text.includes('\\')) throw fail(t.definition.notAUrl)
  if (/[?#]/.test(text)) throw fail(t.definition.query)
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw fail(t.definition.notAUrl)
  }
  if (!text.startsWith('https://') && !text.startsWith('http://')) throw fail(t.definition.notHttps)
  const host = text.split('/')[2] ?? ''
  if (host !== host.toLowerCase()) throw fail(t.definition.capitals)
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) throw fail(t.definition.unencrypted)
  const normal = text.replace(/\/+$/, '')
  if (url.hostname === 'api.openai.com' && url.pathname === '/') throw fail(t.definition.noPath)
  return normal
}

export function isOpenAi(url: string): boolean {
  const host = hostOf(url).replace(/:\d+$/, '')
  const ended = ['openai.com', 'openai.azure.com', 'cognitiveservices.azure.com', 'services.ai.azure.com']
  return ended.some((name) => host === name || host.endsWith(`.${name}`))
}

/** Host and port of a provider, as the node's allow-list has it. */
export function hostOf(url: string): string {
  try {
    return new URL(url).host
  } catch {
    return ''
  }
}

/** Whether a node with this allow-list (hosts, *.hosts, host:port) may call the provider. */
export function reachable(url: string, providers: string[]): boolean {
  const host = hostOf(url)
  return providers.some((one) => one === host || (one.startsWith('*.') && host.endsWith(one.slice(1))))
}

/** The definition to seal. Raises DefinitionInvalid, whose message holds neither the key nor the instructions. */
export function makeDefinition(given: Given, apiKey: string): Definition {
  const url = baseUrl(given.baseUrl.trim())
  const problem = keyProblem(apiKey)
  if (problem) throw new DefinitionInvalid('api_key', problem)
  const stored = given.kind === 'assistant'
  // What the form hides for a stored assistant isn't sealed: it has a model and instructions of its own.
  const model = stored ? '' : given.model.trim()
  const id = given.assistantId.trim()
  if (stored && isOpenAi(url)) throw new DefinitionInvalid('assistant_id', t.definition.shutDown)
  if (stored && !NAME.test(id)) throw new DefinitionInvalid('assistant_id', t.definition.notAnId)
  if (model.startsWith('asst_')) throw new DefinitionInvalid('model', t.definition.idNotModel(isOpenAi(url)))
  if (!stored && !NAME.test(model)) throw new DefinitionInvalid('model', t.definition.notAModel)
  const pricing = given.perToken
    ? {
        ...FIXED,
        mode: 'tokens',
        input: given.perToken.input,
        cached_input: given.perToken.input,
        output: given.perToken.output,
        reasoning: given.perToken.output,
      }
    : FIXED
  return {
    dialect: stored ? 'assistants' : given.dialect,
    base_url: url,
    api_key: apiKey,
    model,
    instructions: stored ? '' : given.instructions,
    tools: tools(given.tools),
    settings: settings(given.settings),
    assistant_id: stored ? id : null,
    allow_http: false,
    policy: { ...POLICY, ...given.policy },
    pricing,
  }
}

function tools(text: string): Json[] {
  const value = json('tools', text || '[]')
  if (!Array.isArray(value)) throw new DefinitionInvalid('tools', t.definition.notAList)
  for (const tool of value)
    if (typeof tool !== 'object' || tool === null || Array.isArray(tool) || typeof tool.type !== 'string' || !tool.type)
      throw new DefinitionInvalid('tools', t.definition.noType)
  if (value.length > MAX_TOOLS) throw new DefinitionInvalid('tools', t.definition.tooMany(value.length, MAX_TOOLS))
  for (const tool of value) checkLevels('tools', tool)
  return value
}

function settings(text: string): { [name: string]: Json } {
  const value = json('settings', text || '{}')
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new DefinitionInvalid('settings', t.definition.notAnObject)
  checkLevels('settings', value)
  return value
}

/** Of a tool or of the settings, as nvm_chain/definition.py has it: the node doesn't read what is nested deeper. */
const MAX_LEVELS = 61

function checkLevels(field: string, value: Json): void {
  let level: Json[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === MAX_LEVELS) throw new DefinitionInvalid(field, t.definition.tooDeep(MAX_LEVELS))
    level = level.flatMap((one) => (typeof one === 'object' && one !== null ? Object.values(one) : []))
  }
}

function json(field: string, text: string): Json {
  try {
    return JSON.parse(text)
  } catch {
    throw new DefinitionInvalid(field, t.definition.notJson)
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
}
