/** The dialog before a transaction, and what becomes of those that were sent. */

import { short } from '../lib/amounts'
import { asking, dismiss, explorerLink, sent } from '../lib/tx'
import { strings as t } from '../strings'
import { Dialog, Facts, Notice } from './basics'

export function TransactionDialog() {
  const shown = asking.value
  if (!shown) return null
  const { title, effects, go, step, costs, problem, answer, again } = shown
  const stopped = step === 'failed' || step === 'unknown'
  return (
    <Dialog title={title} onClose={() => step !== 'wallet' && answer(false)}>
      <ul class="effects">
        {effects.map((effect) => (
          <li key={effect}>{effect}</li>
        ))}
      </ul>
      {step === 'checking' && (
        <p class="loading" role="status">
          {t.tx.checking}
        </p>
      )}
      {stopped && (
        <Notice kind="bad">
          <p>{step === 'failed' ? t.tx.wouldFail : t.tx.notSimulated}</p>
          <p>{problem}</p>
        </Notice>
      )}
      {costs.length > 0 && <Facts rows={costs} />}
      {step === 'wallet' && (
        <p class="loading" role="status">
          {t.tx.inWallet}
        </p>
      )}
      <p class="row end">
        <button type="button" class="button" disabled={step === 'wallet'} onClick={() => answer(false)}>
          {stopped ? t.close : t.cancel}
        </button>
        {step === 'unknown' && (
          <button type="button" class="button primary" onClick={again}>
            {t.again}
          </button>
        )}
        {!stopped && (
          <button type="button" class="button primary" disabled={step !== 'ready'} onClick={() => answer(true)}>
            {go}
          </button>
        )}
      </p>
    </Dialog>
  )
}

/** A transaction's hash, as a link where the chain has an explorer. */
export function Transaction({ hash }: { hash: string }) {
  const link = explorerLink(hash)
  if (!link) return short(hash)
  return (
    <a href={link} target="_blank" rel="noopener noreferrer">
      {short(hash)}
    </a>
  )
}

export function TransactionTray() {
  if (!sent.value.length) return null
  return (
    <section class="tray" aria-label={t.tx.tray}>
      <ul>
        {sent.value.slice(0, 4).map((one) => {
          const link = explorerLink(one.hash)
          return (
            <li key={one.hash} class={one.state}>
              <span>
                <span role="status">
                  <b>{one.title}</b> <span class="state">{t.tx.states[one.state]}</span>
                </span>{' '}
                {link ? (
                  <a href={link} target="_blank" rel="noopener noreferrer">
                    {t.tx.look}
                  </a>
                ) : (
                  <span class="mono quiet">{one.hash.slice(0, 10)}…</span>
                )}
              </span>
              <button
                type="button"
                class="button small"
                aria-label={t.tx.dismiss(one.title)}
                onClick={() => dismiss(one.hash)}
              >
                ×
              </button>
            </li>
          )
        })}
      </ul>
    </section>
  )
}
