/** A safe part of Markdown, as elements: nothing a stranger writes becomes HTML. */

import type { ComponentChildren } from 'preact'

const INLINE =
  /(`[^`\n]+`)|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*(?!\w)|\[([^[\]\n]{1,300})\]\((https?:\/\/[^\s)]{1,2000})\)|(https?:\/\/[^\s<>)\]]+)/

function inline(text: string): ComponentChildren[] {
  const found: ComponentChildren[] = []
  let rest = text
  for (let match = INLINE.exec(rest); match; match = INLINE.exec(rest)) {
    found.push(rest.slice(0, match.index))
    const [whole, code, strong, emphasis, label, href, bare] = match
    if (code) found.push(<code>{code.slice(1, -1)}</code>)
    else if (strong) found.push(<strong>{inline(strong)}</strong>)
    else if (emphasis) found.push(<em>{inline(emphasis)}</em>)
    else
      found.push(
        <a href={href ?? bare} target="_blank" rel="noopener noreferrer nofollow ugc">
          {label ?? bare}
        </a>,
      )
    rest = rest.slice(match.index + whole.length)
  }
  found.push(rest)
  return found
}

export function Markdown({ text }: { text: string }) {
  const lines = text.split('\n')
  const blocks: ComponentChildren[] = []
  let at = 0
  const until = (stop: (line: string) => boolean) => {
    const taken: string[] = []
    while (at < lines.length && !stop(lines[at] as string)) taken.push(lines[at++] as string)
    return taken
  }
  while (at < lines.length) {
    const line = lines[at] as string
    const fence = /^(```|~~~)/.exec(line)
    const heading = /^(#{1,6})\s+([^\n]*)$/.exec(line)
    const item = /^\s*([-*+]|\d{1,3}[.)])\s+/
    if (fence) {
      at++
      const code = until((next) => next.startsWith(fence[1] as string))
      at++
      blocks.push(
        <pre tabIndex={0}>
          <code>{code.join('\n')}</code>
        </pre>,
      )
    } else if (heading) {
      at++
      blocks.push(
        (heading[1] as string).length < 3 ? (
          <h3>{inline(heading[2] as string)}</h3>
        ) : (
          <h4>{inline(heading[2] as string)}</h4>
        ),
      )
    } else if (line.startsWith('>')) {
      const quoted = until((next) => !next.startsWith('>')).map((next) => next.replace(/^>\s?/, ''))
      blocks.push(<blockquote>{inline(quoted.join(' '))}</blockquote>)
    } else if (item.test(line)) {
      const numbered = /^\s*\d/.test(line)
      const items = until((next) => !item.test(next) && !/^\s{2,}\S/.test(next)).reduce<string[]>((all, next) => {
        if (item.test(next)) all.push(next.replace(item, ''))
        else all[all.length - 1] += ` ${next.trim()}`
        return all
      }, [])
      const list = items.map((one) => <li>{inline(one)}</li>)
      blocks.push(numbered ? <ol>{list}</ol> : <ul>{list}</ul>)
    } else if (!line.trim()) {
      at++
    } else {
      at++ // whatever it is, it is taken
      const paragraph = [line, ...until((next) => !next.trim() || /^(```|~~~|#{1,6}\s|>)/.test(next))]
      blocks.push(<p>{inline(paragraph.join(' '))}</p>)
    }
  }
  return <div class="markdown">{blocks}</div>
}
