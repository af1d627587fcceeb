/** How to tell others of an assistant, and how to call it. */

import type { Did } from '../lib/did'
import { facts } from '../lib/node'
import { strings as t } from '../strings'
import { Card, Code, Facts } from './basics'
import { Samples } from './samples'

export const pageOf = (did: string) => `${facts().origin}/a/${did}`

export function Share({ did }: { did: Did }) {
  const page = pageOf(did)
  const frame = `<iframe src="${page}/embed" title="${t.share.frame}" width="360" height="260" style="border:0"></iframe>`
  return (
    <>
      <Card title={t.share.title}>
        <Facts
          rows={[
            [t.share.did, <span class="mono wrap">{did}</span>],
            [
              t.share.link,
              <a href={page} class="wrap">
                {page}
              </a>,
            ],
          ]}
        />
        <h3>{t.share.embed}</h3>
        <Code text={frame} label={t.share.embed} />
        <h3>{t.share.badge}</h3>
        <Code text={`[![assistant](${page}/badge.svg)](${page})`} label={t.share.badge} />
      </Card>
      <Card title={t.share.call}>
        <Samples did={did} />
      </Card>
    </>
  )
}
