/** Bars by day. The same numbers are in a table for whoever can't see them. */

import { grouped } from '../lib/amounts'
import { strings as t } from '../strings'

export interface Bar {
  label: string
  value: number
  shown?: string
}

const WIDTH = 640
const HEIGHT = 160

export function Plot({ title, bars }: { title: string; bars: Bar[] }) {
  const most = Math.max(...bars.map((bar) => bar.value)) || 1
  const step = WIDTH / Math.max(1, bars.length)
  const shown = (bar: Bar) => bar.shown ?? grouped(bar.value)
  const top = bars.reduce((best, bar) => (bar.value > best.value ? bar : best), bars[0] ?? { label: '', value: 0 })
  return (
    <figure class="plot">
      <figcaption>{title}</figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT + 22}`}
        role="img"
        aria-label={t.plot(title, bars.length, shown(top), top.label)}
      >
        <line x1="0" x2={WIDTH} y1={HEIGHT} y2={HEIGHT} class="axis" />
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
                <title>{`${bar.label}: ${shown(bar)}`}</title>
              </rect>
              {bar.value === most && bar.value > 0 && (
                <text
                  x={Math.min(WIDTH - 14, Math.max(14, at * step + step / 2))}
                  y={HEIGHT - height - 6}
                  text-anchor="middle"
                >
                  {shown(bar)}
                </text>
              )}
            </g>
          )
        })}
        <text x="0" y={HEIGHT + 17}>
          {bars[0]?.label}
        </text>
        <text x={WIDTH} y={HEIGHT + 17} text-anchor="end">
          {bars.at(-1)?.label}
        </text>
      </svg>
    </figure>
  )
}

/** The last `days` days, oldest first, with what `entries` add up to on each. */
export function byDay(entries: { time: number; value: number }[], days: number): { label: string; value: number }[] {
  const name = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' })
  const key = (date: Date) => `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`
  const sums = new Map<string, number>()
  for (const { time, value } of entries) {
    const day = key(new Date(time * 1000))
    sums.set(day, (sums.get(day) ?? 0) + value)
  }
  return Array.from({ length: days }, (_, at) => {
    const day = new Date()
    day.setDate(day.getDate() - (days - 1 - at))
    return { label: name.format(day), value: sums.get(key(day)) ?? 0 }
  })
}
