/** Asks the provider, through the node, whether it takes a key: sealed here, opened there, kept nowhere. */

import type { Address } from 'viem'
import { strings as t } from '../strings'
import { accessNode } from './chain'
import { baseUrl, DefinitionInvalid, keyProblem } from './definition'
import { api, facts } from './node'
import { signIn } from './session'
import { account } from './wallet'

const LIFETIME = 300

export interface Answer {
  result: 'ok' | 'refused' | 'not_allowed' | 'unreachable'
  /** Whether the provider lists the model; null where that isn't known. */
  model: boolean | null
}

/** Signs in first. Raises DefinitionInvalid, Rejected, NodeFailed; none holds the key. */
export async function checkKey(url: string, apiKey: string, model: string): Promise<Answer> {
  const base = baseUrl(url.trim())
  const problem = keyProblem(apiKey)
  if (problem) throw new DefinitionInvalid('api_key', problem)
  const name = /^[!-~]{1,200}$/.test(model.trim()) ? model.trim() : ''
  await signIn()
  const { chain, contracts, node } = facts()
  const { key, version, active } = await accessNode(node)
  if (!active) throw new Error(t.errors.nodeNotUsable(node))
  const { sealCheck } = await import('./sealing')
  const check = {
    base_url: base,
    api_key: apiKey,
    model: name,
    account: account.value as Address,
    chain_id: chain.id,
    registry: contracts.asset_registry,
    node,
    key_version: version,
    expires: Math.floor(Date.now() / 1000) + LIFETIME,
  }
  return api<Answer>('POST', 'provider-check', { key_version: version, ciphertext: sealCheck(check, key) })
}
