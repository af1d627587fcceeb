/** What a builder can make. */

import { strings as t } from '../strings'
import { Card, Page } from '../ui/basics'

export default function New() {
  return (
    <Page title={t.new.title} lead={t.new.lead}>
      <div class="grid">
        <Card title={t.new.assistant.title}>
          <p>{t.new.assistant.text}</p>
          <p>
            <a class="button primary" href="#/new/assistant">
              {t.new.assistant.go}
            </a>
          </p>
        </Card>
        <Card title={t.new.plan.title}>
          <p>{t.new.plan.text}</p>
          <p>
            <a class="button" href="#/new/plan">
              {t.new.plan.go}
            </a>
          </p>
        </Card>
      </div>
    </Page>
  )
}
