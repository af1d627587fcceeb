/** API keys: made and shown once, with a budget and an end, revoked at once. */

import { useSignal } from '@preact/signals'
import { date, grouped } from '../../lib/amounts'
import { api, facts } from '../../lib/node'
import { account } from '../../lib/wallet'
import { strings as t } from '../../strings'
import {
  Action,
  Await,
  Card,
  Choice,
  Code,
  Dialog,
  Empty,
  Notice,
  Text,
  useLoad,
  useWrong,
  type Wrong,
} from '../../ui/basics'

interface Key {
  id: string
  name: string
  budget: number | null
  spent: number
  created_at: number
  expires_at: number | null
  last_used_at: number | null
  revoked_at?: number | null
  assistants: string[] | null
}

const DAY = 86_400

export function Keys() {
  const keys = useLoad(() => api<{ data: Key[] }>('GET', 'auth/keys'), account.value)
  const name = useSignal('')
  const budget = useSignal('')
  const life = useSignal('0')
  const made = useSignal('')
  const look = (): Wrong | null =>
    /^([1-9]\d{0,15})?$/.test(budget.value.trim()) ? null : ['budget', t.errors.notWhole(1, Number.MAX_SAFE_INTEGER)]
  const { error, fail } = useWrong(look, () => [budget.value])
  const revoking = useSignal<Key | null>(null)

  const create = async () => {
    const problem = look()
    if (problem) return fail(...problem)
    const text = budget.value.trim()
    const answer = await api<{ key: string }>('POST', 'auth/keys', {
      name: name.value.trim() || t.keys.unnamed,
      budget: text ? Number(text) : null,
      expires_in: Number(life.value) || null,
    })
    made.value = answer.key
    name.value = budget.value = ''
    keys.again()
  }

  return (
    <>
      <Card title={t.keys.create}>
        <form onSubmit={(event) => event.preventDefault()}>
          <div class="columns">
            <Text
              label={t.keys.name}
              value={name.value}
              onInput={(value) => (name.value = value)}
              hint={t.keys.nameHint}
              max={100}
            />
            <Text
              label={t.keys.budget}
              value={budget.value}
              onInput={(value) => (budget.value = value)}
              hint={t.keys.budgetHint}
              error={error('budget')}
              optional
              attributes={{ inputMode: 'numeric' }}
            />
            <Choice
              label={t.keys.life}
              value={life.value}
              options={[
                ['0', t.keys.always],
                [String(DAY), t.spans.day(1)],
                [String(30 * DAY), t.spans.day(30)],
                [String(365 * DAY), t.spans.year(1)],
              ]}
              onChange={(value) => (life.value = value)}
            />
          </div>
          <Action label={t.keys.go} run={create} kind="primary" />
        </form>
      </Card>
      <h2>{t.keys.yours}</h2>
      <Await of={keys}>
        {({ data }) =>
          data.length ? (
            <div class="scroll" tabIndex={0} role="region" aria-label={t.keys.yours}>
              <table class="stacked">
                <thead>
                  <tr>
                    <th scope="col">{t.keys.name}</th>
                    <th scope="col" class="number">
                      {t.keys.spent}
                    </th>
                    <th scope="col">{t.keys.made}</th>
                    <th scope="col">{t.keys.used}</th>
                    <th scope="col">{t.keys.until}</th>
                    <th scope="col">
                      <span class="hidden">{t.keys.actions}</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {data.map((key) => (
                    <tr key={key.id}>
                      <td>
                        {key.name}
                        <br />
                        <span class="mono quiet">{key.id}</span>
                      </td>
                      <td class="number" data-name={t.keys.spent}>
                        {grouped(key.spent)}
                        {key.budget !== null && ` / ${grouped(key.budget)}`}
                      </td>
                      <td data-name={t.keys.made}>{date(key.created_at)}</td>
                      <td data-name={t.keys.used}>{key.last_used_at ? date(key.last_used_at) : t.keys.never}</td>
                      <td data-name={t.keys.until}>{key.expires_at ? date(key.expires_at) : t.keys.always}</td>
                      <td>
                        {key.revoked_at ? (
                          t.keys.revoked
                        ) : (
                          <button
                            type="button"
                            class="button small danger"
                            aria-label={t.keys.revokeOne(key.name)}
                            onClick={() => (revoking.value = key)}
                          >
                            {t.keys.revoke}
                          </button>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          ) : (
            <Empty>
              <p>{t.keys.none}</p>
            </Empty>
          )
        }
      </Await>
      {made.value && (
        <Dialog title={t.keys.madeTitle}>
          <Notice kind="warn">
            <p>{t.keys.once}</p>
          </Notice>
          <Code text={made.value} label={t.keys.key} />
          <p class="hint">{t.keys.use(`${facts().origin}/v1`)}</p>
          <p class="row end">
            <button type="button" class="button primary" onClick={() => (made.value = '')}>
              {t.keys.kept}
            </button>
          </p>
        </Dialog>
      )}
      {revoking.value && (
        <Dialog title={t.keys.revokeOne(revoking.value.name)} onClose={() => (revoking.value = null)}>
          <p>{t.keys.revokeNote}</p>
          <div class="row end">
            <button type="button" class="button" onClick={() => (revoking.value = null)}>
              {t.cancel}
            </button>
            <Action
              label={t.keys.revoke}
              kind="danger"
              run={async () => {
                await api('DELETE', `auth/keys/${revoking.value?.id}`)
                revoking.value = null
                keys.again()
              }}
            />
          </div>
        </Dialog>
      )}
    </>
  )
}
