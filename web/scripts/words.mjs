// English that the sources hold outside of strings.ts, as "file:line: text". The folder may be another one.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAst } from 'vite'

// English, to this script: two words with a space between them, or any word where only people read.
const SENTENCE = /\p{L}{2,}[.,;:!?]? \p{L}/u
const READ = new Set(['title', 'label', 'aria-label', 'alt', 'placeholder', 'lead', 'hint'])
// What only machines read: selectors, a wallet's refusal, a contract's domain, and code that calls an assistant.
const KEPT = new Set(['main h1', 'main h2', 'User rejected the request.', 'nvm-chain PlanRegistry'])
const CODE = 'ui/samples.tsx'

const folder = process.argv[2] ?? 'src'
for (const name of readdirSync(folder, { recursive: true }).sort()) {
  if (!/\.tsx?$/.test(name) || name === 'strings.ts' || name === CODE || name.startsWith('generated')) continue
  const source = readFileSync(join(folder, name), 'utf8')
  const look = (node, attribute) => {
    const text = wordsOf(node, attribute)
    if (text && !KEPT.has(text)) console.log(`${name}:${source.slice(0, node.start).split('\n').length}: ${text}`)
    const inside = node.type === 'JSXAttribute' ? node.name.name : attribute
    for (const value of Object.values(node))
      for (const child of [value].flat()) if (typeof child?.type === 'string') look(child, inside)
  }
  look(parseAst(source, { lang: name.endsWith('x') ? 'tsx' : 'ts' }, name))
}

function wordsOf(node, attribute) {
  if (node.type === 'JSXText') return /\p{L}/u.test(node.value) && node.value.trim()
  const text = node.type === 'TemplateElement' ? node.value.cooked : node.type === 'Literal' ? node.value : null
  if (typeof text !== 'string' || text.startsWith('<') || attribute === 'class' || attribute === 'rel') return null
  return (READ.has(attribute) ? /\p{L}/u : SENTENCE).test(text) && text
}
