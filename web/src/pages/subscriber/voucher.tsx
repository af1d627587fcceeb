/** How far a plan's calls may be settled, and the signature that lets them go further. */

import { useSignal } from '@preact/signals'
import { grouped } from '../../lib/amounts'
import type { Plan, Standing } from '../../lib/chain'
import { signVoucher, type Voucher } from '../../lib/vouchers'
import { strings as t } from '../../strings'
import { Action, Notice, Text, useWrong } from '../../ui/basics'

interface Props {
  plan: Plan
  title: string
  standing: Standing
  known: Voucher | null
  again: () => void
}

/** known: what the node has; null also for somebody who isn't signed in. */
export function SignedFor({ plan, title, standing, known, again }: Props) {
  const { consumed, spendable } = standing
  const signed = known ? BigInt(known.ceiling) - consumed : 0n
  const credits = useSignal(spendable.toString())
  const look = (): [string, string] | null => {
    const wanted = /^[0-9]{1,30}$/.test(credits.value.trim()) ? BigInt(credits.value.trim()) : 0n
    if (wanted < 1n || wanted > spendable) return ['credits', t.voucher.range(grouped(spendable))]
    return wanted <= signed ? ['credits', t.voucher.already(grouped(signed))] : null
  }
  const { error, fail, clear } = useWrong(look, () => [credits.value])
  if (signed >= spendable) return <p class="quiet">{t.voucher.all}</p>
  const run = async () => {
    const wrong = look()
    if (wrong) return fail(...wrong)
    clear()
    await signVoucher(plan, title, standing, BigInt(credits.value.trim()))
    again()
  }
  return (
    <Notice>
      <p>{signed > 0n ? t.voucher.some(grouped(signed)) : t.voucher.none}</p>
      <Text
        label={t.voucher.credits}
        value={credits.value}
        onInput={(value) => (credits.value = value)}
        error={error('credits')}
        attributes={{ inputMode: 'numeric' }}
      />
      <Action label={t.voucher.sign} run={run} />
    </Notice>
  )
}
