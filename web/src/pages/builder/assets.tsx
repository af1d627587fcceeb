/** The wallet's assistants, with the state of their secrets. */

import type { Address } from 'viem'
import { type Asset, assetsOf, metadataOf } from '../../lib/chain'
import type { Metadata } from '../../lib/metadata'
import { account } from '../../lib/wallet'
import { strings as t } from '../../strings'
import { Await, Empty, Tags, useLoad } from '../../ui/basics'

export interface Seal {
  node: Address
  state: 'current' | 'stale' | 'missing'
}

/** How the secret stands with each node that serves the assistant. */
export function sealsOf(one: Asset, metadata: Metadata | null): Seal[] {
  const now = Date.now() / 1000
  return one.nodes
    .filter((node) => node.active && node.until > now)
    .map((node) => {
      const mine = metadata?.owner === one.owner ? metadata.sealed.filter((sealed) => sealed.node === node.account) : []
      const current = mine.some((sealed) => sealed.key_version === node.version)
      return { node: node.account, state: current ? 'current' : mine.length ? 'stale' : 'missing' }
    })
}

export function Assets() {
  const found = useLoad(
    async () =>
      await Promise.all(
        (await assetsOf(account.value as Address)).map(async (one) => ({
          one,
          metadata: await metadataOf(one).catch(() => null),
        })),
      ),
    account.value,
  )
  return (
    <Await of={found}>
      {(all) =>
        all.length ? (
          <ul class="grid">
            {all.map(({ one, metadata }) => (
              <li key={one.did} class="card">
                <h2>{metadata?.title ?? t.builder.unreadable}</h2>
                <p class="clamp">{metadata?.description}</p>
                <Tags tags={metadata?.tags ?? []} />
                <p>
                  <span class={one.active ? 'state good' : 'state'}>
                    {one.active ? t.me.active : t.builder.inactive}
                  </span>
                  {sealsOf(one, metadata).some((seal) => seal.state !== 'current') && (
                    <>
                      {' · '}
                      <b class="bad">{t.builder.needsSeal}</b>
                    </>
                  )}
                </p>
                <p class="row">
                  <a class="button" href={`#/builder?did=${one.did}`}>
                    {t.builder.manage}
                  </a>
                  <a class="button" href={`#/a/${one.did}`}>
                    {t.builder.page}
                  </a>
                </p>
              </li>
            ))}
          </ul>
        ) : (
          <Empty>
            <p>{t.builder.noAssets}</p>
            <p>
              <a class="button primary" href="#/new/assistant">
                {t.new.assistant.go}
              </a>
            </p>
          </Empty>
        )
      }
    </Await>
  )
}
