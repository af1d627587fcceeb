import { Page } from '../ui/basics'
export default function Stub() {
  return (
    <Page title="subscriber">
      <p />
    </Page>
  )
}
