/** The marketplace: what this node serves. */

import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import type { Address, Hex } from 'viem'
import { api } from '../lib/node'
import { restate, route } from '../lib/route'
import { strings as t } from '../strings'
import { Action, Await, Choice, Empty, Field, Page, Tags, useLoad } from '../ui/basics'
import { Price, perAccess } from '../ui/plan'

export interface Listed {
  did: string
  owner: Address
  title: string
  description: string
  tags: string[]
  cid: string
  offers: {
    plan_id: Hex
    title: string
    min_credits: number
    max_credits: number
    on_sale: boolean
    price: string
    token: Address | null
    credits_per_unit: number
    duration: number
    refundable: boolean
    trial: boolean
  }[]
}

interface Listing {
  data: Listed[]
  has_more: boolean
  total: number
  tags: string[]
}

const ZERO = '0x0000000000000000000000000000000000000000'

export default function Market() {
  const query = route.value.query
  const q = useSignal(query.get('q') ?? '')
  const tag = query.get('tag') ?? ''
  const sort = query.get('sort') ?? 'new'
  const kind = query.get('kind') ?? ''
  const asked = new URLSearchParams({ q: query.get('q') ?? '', tag, sort, kind }).toString()
  const found = useLoad(async () => ({ ...(await api<Listing>('GET', `catalogue?${asked}`)), asked }), asked)
  // Further pages of the list that is shown.
  const further = useSignal<Pick<Listing, 'data' | 'has_more'> & { of: string }>({ of: '', data: [], has_more: true })
  const more = further.value.of === found.value?.asked ? further.value : { data: [], has_more: true }
  const last = more.data.at(-1) ?? found.value?.data.at(-1)
  // The words that this page put into the address; others came by a link.
  const mine = useRef(query.get('q') ?? '')
  const state = (change: Record<string, string>) => {
    mine.current = q.value.trim()
    restate('', { q: mine.current, tag, sort, kind, ...change })
  }

  useEffect(() => {
    const words = query.get('q') ?? ''
    if (words !== mine.current) q.value = mine.current = words
  }, [query.get('q')])

  useEffect(() => {
    const timer = setTimeout(() => q.value.trim() !== (query.get('q') ?? '') && state({}), 250)
    return () => clearTimeout(timer)
  }, [q.value])

  const load = async () => {
    const of = found.value?.asked ?? ''
    const next = await api<Listing>('GET', `catalogue?${of}&after=${last?.did}`)
    further.value = { of, data: [...more.data, ...next.data], has_more: next.has_more }
  }

  return (
    <Page title={t.market.title} lead={t.market.lead}>
      <form class="search" role="search" onSubmit={(event) => event.preventDefault()}>
        <Field label={t.market.search}>
          {(props) => (
            <input
              {...props}
              type="search"
              value={q.value}
              onInput={(event) => (q.value = event.currentTarget.value)}
              placeholder={t.market.placeholder}
            />
          )}
        </Field>
        <Choice
          label={t.market.kind}
          value={kind}
          options={Object.entries(t.market.kinds)}
          onChange={(kind) => state({ kind })}
        />
        <Choice
          label={t.market.sort}
          value={sort}
          options={Object.entries(t.market.sorts)}
          onChange={(sort) => state({ sort })}
        />
      </form>
      {tag && (
        <p>
          {t.market.tagged}{' '}
          <button type="button" class="tag" aria-label={t.market.untag(tag)} onClick={() => state({ tag: '' })}>
            {tag} ×
          </button>
        </p>
      )}
      <Await of={found}>
        {(listing) => (
          <>
            {!tag && <Tags tags={listing.tags} onPick={(tag) => state({ tag })} />}
            <p class="quiet" role="status">
              {t.market.count(listing.total)}
            </p>
            {listing.data.length ? (
              <ul class="grid listing">
                {[...listing.data, ...more.data].map((one) => (
                  <li key={one.did} class="card">
                    <Entry one={one} />
                  </li>
                ))}
              </ul>
            ) : (
              <Empty>
                <p>{q.value || tag || kind ? t.market.noneFound : t.market.none}</p>
              </Empty>
            )}
            {listing.has_more && more.has_more && (
              <div class="row center">
                <Action label={t.market.more} run={load} />
              </div>
            )}
          </>
        )}
      </Await>
    </Page>
  )
}

function Entry({ one }: { one: Listed }) {
  const offer = one.offers.find((offer) => offer.on_sale) ?? one.offers[0]
  return (
    <>
      <h2>
        <a href={`#/a/${one.did}`}>{one.title}</a>
      </h2>
      <p class="clamp">{one.description}</p>
      <Tags tags={one.tags} />
      {offer && (
        <p class="foot">
          <Price
            terms={{
              token: offer.token ?? ZERO,
              price: BigInt(offer.price),
              creditsPerUnit: BigInt(offer.credits_per_unit),
              duration: offer.duration,
            }}
          />
          <span class="quiet">
            {t.asset.perAccess(perAccess(offer.min_credits, offer.max_credits, offer.credits_per_unit === 0))}
            {offer.on_sale ? '' : ` · ${t.asset.notOnSale}`}
          </span>
        </p>
      )}
    </>
  )
}
