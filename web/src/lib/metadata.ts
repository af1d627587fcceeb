/** Metadata of assistants and plans: the same bytes as nvm_chain/metadata.py and plan_metadata.py write. */

import type { Address, Hex } from 'viem'
import { strings as t } from '../strings'
import { canonicalBytes, type Json } from './canonical'
import { cidOf, digestOf } from './cid'
import type { Did } from './did'
import { manyLines, oneLine, TextInvalid, tag } from './text'

export const MAX_BLOCK = 256 * 1024
export const LIMITS = { title: 120, description: 5_000, notes: 50_000, tags: 16, tag: 32, offers: 16 } as const

export interface OfferSummary {
  plan: Hex
  title: string
  min: number
  max: number
}

export interface Service {
  node: Address
  endpoint: string
}

export interface SealedEntry {
  v: 1
  node: Address
  key_version: number
  ciphertext: string
}

export interface Metadata {
  did: Did
  chainId: number
  registry: Address
  owner: Address
  title: string
  description: string
  tags: string[]
  notes: string
  image?: string
  offers: OfferSummary[]
  services: Service[]
  sealed: SealedEntry[]
  created: number
  updated: number
}

export interface Block {
  bytes: Uint8Array<ArrayBuffer>
  digest: Hex
  cid: string
}

/** A value that doesn't fit into metadata. field: its name. */
export class MetadataInvalid extends Error {
  constructor(
    message: string,
    readonly field: string,
  ) {
    super(message)
  }
}

function field<T>(name: string, normal: () => T): T {
  try {
    return normal()
  } catch (error) {
    if (error instanceof TextInvalid) throw new MetadataInvalid(error.message, name)
    throw error
  }
}

/** The texts in the form in which they are written. Raises MetadataInvalid. */
export function normalTexts(m: Pick<Metadata, 'title' | 'description' | 'notes' | 'tags'>) {
  const tags = field('tags', () => [...new Set(m.tags.map((text) => tag(text, LIMITS.tag)))])
  if (tags.length > LIMITS.tags) throw new MetadataInvalid(t.texts.tooManyTags(tags.length, LIMITS.tags), 'tags')
  return {
    title: field('title', () => oneLine(m.title, LIMITS.title, 1)),
    description: field('description', () => manyLines(m.description, LIMITS.description)),
    notes: field('notes', () => manyLines(m.notes, LIMITS.notes)),
    tags,
  }
}

export async function metadataBlock(given: Metadata): Promise<Block> {
  const m = { ...given, ...normalTexts(given) }
  const document: { [name: string]: Json } = {
    v: 1,
    did: m.did,
    chain: `eip155:${m.chainId}`,
    registry: m.registry,
    owner: m.owner,
    title: m.title,
    description: m.description,
    tags: m.tags,
    notes: m.notes,
    offers: m.offers.map((o) => ({ plan: o.plan, title: o.title, min: o.min, max: o.max })),
    services: m.services.map((s) => ({ node: s.node, endpoint: s.endpoint })),
    sealed: m.sealed.map((s) => ({ v: s.v, node: s.node, key_version: s.key_version, ciphertext: s.ciphertext })),
    created: m.created,
    updated: m.updated,
    didDocument: didDocument(m.did, m.chainId, m.owner, m.services),
  }
  if (m.image) document.image = m.image
  const block = await finished(document)
  if (block.bytes.length > MAX_BLOCK)
    throw new MetadataInvalid(t.texts.tooLarge(block.bytes.length, MAX_BLOCK), 'notes')
  return block
}

export async function planBlock(title: string, description: string): Promise<Block> {
  return await finished({
    v: 1,
    type: 'plan',
    title: field('title', () => oneLine(title, LIMITS.title, 1)),
    description: field('description', () => manyLines(description, LIMITS.description)),
  })
}

async function finished(document: Json): Promise<Block> {
  const bytes = canonicalBytes(document)
  const digest = await digestOf(bytes)
  return { bytes, digest, cid: cidOf(digest) }
}

/** Reads a block whose digest was checked; null for one of another kind. */
export function readMetadata(bytes: Uint8Array): Metadata | null {
  const d = JSON.parse(new TextDecoder().decode(bytes))
  if (d?.v !== 1 || typeof d.did !== 'string') return null
  const { v: _, chain, didDocument: __, ...rest } = d
  return { ...rest, chainId: Number(String(chain).split(':')[1]) }
}

function didDocument(did: Did, chainId: number, owner: Address, services: Service[]): Json {
  const account = (address: Address) => `eip155:${chainId}:${address}`
  return {
    '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/suites/secp256k1recovery-2020/v2'],
    id: did,
    controller: `did:pkh:${account(owner)}`,
    verificationMethod: [
      {
        id: `${did}#owner`,
        type: 'EcdsaSecp256k1RecoveryMethod2020',
        controller: did,
        blockchainAccountId: account(owner),
      },
    ],
    authentication: [`${did}#owner`],
    assertionMethod: [`${did}#owner`],
    service: services.map((service) => ({
      id: `${did}#access-${service.node.toLowerCase()}`,
      type: 'AssistantAccess',
      serviceEndpoint: service.endpoint,
      node: account(service.node),
    })),
  }
}
