// Loads pages as Lighthouse's slow phone does. stdin: {chromium, flags, runs, pages: [{name, url, script, cookie}]}; script
// runs before the page's own. stdout: one line of JSON per run: {name, scores, seconds, bytes, faults}.
import { text } from 'node:stream/consumers'
import lighthouse from 'lighthouse'
import puppeteer from 'puppeteer-core'

const TRIES = 4
const { chromium, flags, runs, pages } = JSON.parse(await text(process.stdin))

/** A run in a browser of its own: nothing is cached, and nothing is left of another page. */
async function run({ name, url, script, cookie }) {
  const browser = await puppeteer.launch({ executablePath: chromium, args: flags, headless: true })
  try {
    const page = await browser.newPage()
    if (cookie) await browser.setCookie(cookie)
    await page.evaluateOnNewDocument(script)
    const options = { onlyCategories: ['performance', 'accessibility'], logLevel: 'error' }
    const { lhr } = await lighthouse(url, options, undefined, page)
    if (lhr.runtimeError) throw new Error(`${url}: ${lhr.runtimeError.message}`)
    const { categories, audits } = lhr
    const of = (audit) => audits[audit].numericValue
    const faults = categories.accessibility.auditRefs
      .filter(({ id, weight }) => weight && audits[id].score === 0)
      .map(({ id }) => ({ id, where: audits[id].details.items.map((item) => item.node?.snippet) }))
    return {
      name,
      scores: Object.fromEntries(Object.values(categories).map(({ id, score }) => [id, Math.round(score * 100)])),
      seconds: { first_paint: of('first-contentful-paint') / 1000, largest_paint: of('largest-contentful-paint') / 1000 },
      blocked_ms: of('total-blocking-time'),
      layout_shift: of('cumulative-layout-shift'),
      bytes: of('total-byte-weight'),
      title: await page.title(),
      headings: await page.$$eval('main h1, main h2', (found) => found.map((one) => one.textContent)),
      faults,
      machine: lhr.environment.benchmarkIndex,
    }
  } finally {
    await browser.close()
  }
}

/** A run; a busy machine makes the browser lose a recording now and then. */
async function recorded(page) {
  for (let left = TRIES; ; left--) {
    try {
      return await run(page)
    } catch (error) {
      if (left === 1) throw error
      console.error(`${page.name}: again: ${error.message}`)
    }
  }
}

// Interleaved: what else the machine does for a while counts against no page alone.
for (let round = 0; round < runs; round++)
  for (const page of pages) console.log(JSON.stringify(await recorded(page)))
