/** DIDs and plan ids: known before the transaction that makes them. */

import { type Address, encodeAbiParameters, type Hex, keccak256 } from 'viem'

export type Did = `did:nv:${string}`

/** keccak256(abi.encode(chain id, registry, owner, salt)), as AssetRegistry.didOf and PlanRegistry.planIdOf. */
export function idOf(chainId: number, registry: Address, owner: Address, salt: Hex): Hex {
  const types = [{ type: 'uint256' }, { type: 'address' }, { type: 'address' }, { type: 'bytes32' }] as const
  return keccak256(encodeAbiParameters(types, [BigInt(chainId), registry, owner, salt]))
}

export const didOf = (id: Hex): Did => `did:nv:${id.slice(2)}`

export const idOfDid = (did: string): Hex => `0x${did.slice('did:nv:'.length)}`

export const isDid = (text: string): text is Did => /^did:nv:[0-9a-f]{64}$/.test(text)

export function randomSalt(): Hex {
  const bytes = crypto.getRandomValues(new Uint8Array(32))
  return `0x${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`
}
