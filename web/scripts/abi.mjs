// Writes src/generated/abi.ts: the contracts' ABIs, from the artifacts that the Python package ships.
import { readFileSync, writeFileSync } from 'node:fs'

const here = new URL('..', import.meta.url)
const contracts = ['PlanRegistry', 'AssetRegistry', 'NodeRegistry', 'Lens']

export function generate() {
  const parts = contracts.map((name) => {
    const artifact = JSON.parse(readFileSync(new URL(`../nvm_chain/artifacts/${name}.json`, here), 'utf8'))
    const abi = artifact.abi.filter((item) => item.type !== 'constructor').map(slim)
    return `export const ${name} = ${JSON.stringify(abi)} as const\n`
  })
  return `// Written by scripts/abi.mjs from nvm_chain/artifacts/.\n${parts.join('')}`
}

function slim(value) {
  if (Array.isArray(value)) return value.map(slim)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).filter(([name]) => name !== 'internalType')
  return Object.fromEntries(entries.map(([name, inner]) => [name, slim(inner)]))
}

export function write() {
  const target = new URL('src/generated/abi.ts', here)
  const text = generate()
  let old = ''
  try {
    old = readFileSync(target, 'utf8')
  } catch {}
  if (old !== text) writeFileSync(target, text)
}

if (process.argv[1] && import.meta.url.endsWith(process.argv[1].split('/').pop())) write()
