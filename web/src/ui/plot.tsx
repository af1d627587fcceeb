/** Bars by day. The same numbers are in a table for whoever can't see them. */

import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { strings as t } from '../strings'

/** value: for the bar's height; shown: the exact amount. */
export interface Bar {
  label: string
  value: number
  shown: string
}

/** Pixels: the picture is drawn as wide as it is shown, so that its words keep their size. */
const WIDEST = 832
const HEIGHT = 160
const EMPTY: Bar = { label: '', value: 0, shown: '' }

export function Plot({ title, bars }: { title: string; bars: Bar[] }) {
  const most = Math.max(...bars.map((bar) => bar.value)) || 1
  const box = useRef<HTMLElement>(null)
  const [width, setWidth] = useState(WIDEST)
  useLayoutEffect(() => {
    const watcher = new ResizeObserver(([entry]) => entry && setWidth(Math.min(WIDEST, entry.contentRect.width)))
    watcher.observe(box.current as HTMLElement)
    return () => watcher.disconnect()
  }, [])
  const step = width / Math.max(1, bars.length)
  const top = bars.reduce((best, bar) => (bar.value > best.value ? bar : best), bars[0] ?? EMPTY)
  return (
    <figure class="plot" ref={box}>
      <figcaption>{title}</figcaption>
      <svg
        viewBox={`0 0 ${width} ${HEIGHT + 22}`}
        role="img"
        aria-label={t.plot(title, bars.length, top.shown, top.label)}
      >
        <line x1="0" x2={width} y1={HEIGHT} y2={HEIGHT} class="axis" />
        {bars.map((bar, at) => {
          const height = (bar.value / most) * (HEIGHT - 24)
          return (
            <g key={bar.label}>
              <rect
                x={at * step + step * 0.12}
                width={step * 0.76}
                y={HEIGHT - height}
                height={height}
                rx={Math.min(3, step / 6)}
              >
                <title>{`${bar.label}: ${bar.shown}`}</title>
              </rect>
              {bar.value === most && bar.value > 0 && (
                <text
                  x={at * step + step / 2}
                  y={HEIGHT - height - 6}
                  text-anchor={at < 3 ? 'start' : at > bars.length - 4 ? 'end' : 'middle'}
                >
                  {bar.shown}
                </text>
              )}
            </g>
          )
        })}
        <text x="0" y={HEIGHT + 17}>
          {bars[0]?.label}
        </text>
        <text x={width} y={HEIGHT + 17} text-anchor="end">
          {bars.at(-1)?.label}
        </text>
      </svg>
    </figure>
  )
}

/** The last `days` days, oldest first, with what `entries` add up to on each; the sums are exact. */
export function byDay(entries: { time: number; value: bigint }[], days: number, shown: (sum: bigint) => string): Bar[] {
  const name = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' })
  const key = (date: Date) => `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`
  const sums = new Map<string, bigint>()
  for (const { time, value } of entries) {
    const day = key(new Date(time * 1000))
    sums.set(day, (sums.get(day) ?? 0n) + value)
  }
  return Array.from({ length: days }, (_, at) => {
    const day = new Date()
    day.setDate(day.getDate() - (days - 1 - at))
    const sum = sums.get(key(day)) ?? 0n
    return { label: name.format(day), value: Number(sum), shown: shown(sum) }
  })
}
