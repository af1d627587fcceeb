import { type ComponentType, render } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { startDrafts } from './lib/drafts'
import { loadFacts } from './lib/node'
import { route, startRouting } from './lib/route'
import { startSession } from './lib/session'
import { message, startTransactions } from './lib/tx'
import { startWallets } from './lib/wallet'
import { strings as t } from './strings'
import './style.css'
import { Notice } from './ui/basics'
import { TransactionDialog, TransactionTray } from './ui/transactions'
import { NetworkBanner, WalletButton } from './ui/wallet'

const PAGES: Record<string, () => Promise<{ default: ComponentType }>> = {
  '': () => import('./pages/market'),
  a: () => import('./pages/asset'),
  new: () => import('./pages/new'),
  'new/plan': () => import('./pages/plan'),
  'new/assistant': () => import('./pages/wizard'),
  me: () => import('./pages/subscriber'),
  builder: () => import('./pages/builder'),
  operator: () => import('./pages/operator'),
}

const NAV: [string, string][] = [
  ['', t.nav.market],
  ['me', t.nav.me],
  ['builder', t.nav.builder],
  ['operator', t.nav.operator],
]

function Console() {
  const key = PAGES[route.value.path.join('/')] ? route.value.path.join('/') : (route.value.path[0] ?? '')
  const [Shown, show] = useState<ComponentType | null>(null)
  const [problem, setProblem] = useState('')
  useEffect(() => {
    let current = true
    const load = PAGES[key] ?? PAGES['']
    load?.().then(
      (page) => {
        if (!current) return
        setProblem('')
        show(() => page.default)
      },
      (error) => current && setProblem(message(error)),
    )
    return () => {
      current = false
    }
  }, [key])
  return (
    <>
      <button type="button" class="skip button" onClick={skip}>
        {t.nav.skip}
      </button>
      <header class="top">
        <a class="brand" href="#/">
          {t.product}
        </a>
        <nav aria-label={t.nav.label}>
          {NAV.map(([path, name]) => (
            <a key={path} href={`#/${path}`} aria-current={key === path ? 'page' : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <div class="row">
          <a class="button" href="#/new">
            {t.nav.new}
          </a>
          <WalletButton />
        </div>
      </header>
      <NetworkBanner />
      <TransactionTray />
      <main id="main" tabIndex={-1}>
        {problem && <Notice kind="bad">{problem}</Notice>}
        {Shown && !problem ? <Shown key={key} /> : <p class="loading">{t.loading}</p>}
      </main>
      <TransactionDialog />
    </>
  )
}

function skip() {
  document.getElementById('main')?.focus()
}

async function start() {
  const root = document.getElementById('app') as HTMLElement
  root.textContent = ''
  try {
    await loadFacts()
    startSession()
  } catch (error) {
    render(
      <main class="page">
        <h1>{t.product}</h1>
        <Notice kind="bad">
          <p>{message(error)}</p>
          <button type="button" class="button" onClick={() => location.reload()}>
            {t.again}
          </button>
        </Notice>
      </main>,
      root,
    )
    return
  }
  startDrafts()
  startWallets()
  startTransactions()
  startRouting()
  render(<Console />, root)
}

void start()
