/** What a builder has: assistants, plans, sales, earnings. */

import { restate, route } from '../lib/route'
import { account } from '../lib/wallet'
import { strings as t } from '../strings'
import { Page, Tabs } from '../ui/basics'
import { NeedsWallet } from '../ui/wallet'
import { Assets } from './builder/assets'
import { Manage } from './builder/manage'
import { Plans } from './builder/plans'

type Tab = 'assets' | 'plans'

export default function Builder() {
  const query = route.value.query
  const did = query.get('did')
  const tab: Tab = query.get('tab') === 'plans' || query.get('plan') ? 'plans' : 'assets'
  return (
    <Page title={did ? t.builder.manage : t.builder.title} lead={did ? undefined : t.builder.lead}>
      <NeedsWallet why={t.builder.why}>
        {did ? (
          <Manage key={`${did}${account.value}`} did={did} />
        ) : (
          <>
            <Tabs
              label={t.builder.title}
              tabs={Object.entries(t.builder.tabs) as [Tab, string][]}
              value={tab}
              onPick={(tab) => restate('builder', { tab })}
            />
            <div role="tabpanel" aria-label={t.builder.tabs[tab]}>
              {tab === 'plans' ? <Plans key={account.value} /> : <Assets key={account.value} />}
            </div>
          </>
        )}
      </NeedsWallet>
    </Page>
  )
}
