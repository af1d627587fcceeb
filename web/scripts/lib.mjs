// Runs functions of src/lib in Node, for tests: reads [[module, function, ...arguments], …] from stdin, writes results.
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'vite'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))
const modules = ['amounts', 'canonical', 'cid', 'definition', 'did', 'metadata', 'rpc', 'sealing', 'text']
const out = mkdtempSync(join('node_modules', '.lib-'))
try {
  await build({
    configFile: false,
    logLevel: 'error',
    ssr: { noExternal: true },
    build: {
      ssr: true,
      outDir: out,
      copyPublicDir: false,
      rollupOptions: { input: Object.fromEntries(modules.map((name) => [name, `src/lib/${name}.ts`])) },
    },
  })
  const loaded = {}
  for (const name of modules) loaded[name] = await import(pathToFileURL(join(out, `${name}.js`)).href)
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  const results = []
  for (const [module, name, ...args] of JSON.parse(Buffer.concat(chunks).toString())) {
    try {
      const result = await loaded[module][name](...args)
      if (result instanceof Error) throw result
      results.push({
        result: result?.bytes ? { ...result, bytes: Buffer.from(result.bytes).toString('base64') } : result,
      })
    } catch (error) {
      results.push({ error: error.message })
    }
  }
  process.stdout.write(JSON.stringify(results))
} finally {
  rmSync(out, { recursive: true })
}
