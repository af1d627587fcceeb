/** A plan in words: what it costs and gives. */

import { formatUnits, grouped, span } from '../lib/amounts'
import { type Currency, currencyOf, isTimePlan, type Terms } from '../lib/chain'
import { strings as t } from '../strings'
import { useLoad } from './basics'

export function amount(value: bigint, currency: Currency): string {
  return `${formatUnits(value, currency.decimals)} ${currency.symbol}`
}

/** What one unit gives: `100 credits`, `30 days`, `100 credits for 30 days`. */
export function gives(terms: Pick<Terms, 'creditsPerUnit' | 'duration'>): string {
  if (isTimePlan(terms)) return span(terms.duration)
  const credits = t.credits(Number(terms.creditsPerUnit), grouped(terms.creditsPerUnit))
  return terms.duration ? t.plan.within(credits, span(terms.duration)) : credits
}

export function useCurrency(token: `0x${string}` | null): Currency | null {
  const found = useLoad(() => currencyOf(token), token)
  return found.value ?? null
}

/** `0.01 ETH for 100 credits`, once the token's decimals are known. */
export function Price({ terms }: { terms: Pick<Terms, 'token' | 'price' | 'creditsPerUnit' | 'duration'> }) {
  const currency = useCurrency(terms.token)
  if (terms.price === 0n) return <span class="price">{t.plan.free(gives(terms))}</span>
  return <span class="price">{currency ? t.plan.priced(amount(terms.price, currency), gives(terms)) : '…'}</span>
}

/** What one access costs: `1 credit`, `1–5 credits`, `nothing more`. */
export function perAccess(min: bigint | number, max: bigint | number, timePlan: boolean): string {
  if (timePlan) return t.plan.included
  if (BigInt(min) === BigInt(max)) return t.credits(Number(max), grouped(max))
  return t.plan.range(grouped(min), grouped(max))
}
