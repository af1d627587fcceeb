// `npm run build`: ABIs, then the bundle into node_proxy/web/static, then a mark of the sources that it was made from.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { write } from './abi.mjs'

const here = new URL('..', import.meta.url)
process.chdir(fileURLToPath(here))
write()
const out = process.argv[2]
await build({ logLevel: 'warn', ...(out ? { build: { outDir: out } } : {}) })
if (!out) writeFileSync(new URL('../node_proxy/web/static/sources.sha256', here), `${sources()}\n`)

// tests/unit/test_console_build.py computes the same.
function sources() {
  const files = [
    'package-lock.json',
    'vite.config.ts',
    'index.html',
    'embed.html',
    'public/card.png',
    'public/favicon.svg',
  ]
  for (const entry of readdirSync('src', { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) files.push(`${entry.parentPath}/${entry.name}`)
  }
  const hash = createHash('sha256')
  for (const name of files.sort()) hash.update(`${name}\0`).update(readFileSync(name)).update('\0')
  return hash.digest('hex')
}
