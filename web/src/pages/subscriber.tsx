/** My plans: what the wallet holds, keys, usage, playground. */

import { restate, route } from '../lib/route'
import { account } from '../lib/wallet'
import { strings as t } from '../strings'
import { Page, Tabs } from '../ui/basics'
import { NeedsLogin, NeedsWallet } from '../ui/wallet'
import { Held } from './subscriber/held'
import { Keys } from './subscriber/keys'
import { Playground } from './subscriber/playground'
import { Usage } from './subscriber/usage'

const TABS = { plans: Held, keys: Keys, usage: Usage, playground: Playground }
type Tab = keyof typeof TABS

export default function Subscriber() {
  const asked = route.value.query.get('tab') ?? 'plans'
  const tab = (asked in TABS ? asked : 'plans') as Tab
  const Shown = TABS[tab]
  return (
    <Page title={t.me.title} lead={t.me.lead}>
      <Tabs
        label={t.me.title}
        tabs={Object.entries(t.me.tabs) as [Tab, string][]}
        value={tab}
        onPick={(tab) => restate('me', { tab })}
      />
      <div role="tabpanel" aria-label={t.me.tabs[tab]}>
        {tab === 'plans' ? (
          <NeedsWallet why={t.me.why}>
            <Shown key={account.value} />
          </NeedsWallet>
        ) : (
          <NeedsLogin why={t.me.whyLogin}>
            <Shown key={account.value} />
          </NeedsLogin>
        )}
      </div>
    </Page>
  )
}
