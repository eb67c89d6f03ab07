// The bench as a picture: objects a second beside the two yardsticks, and how the workers scale.
import type { Results } from './report.ts'

const [width, left, barHeight, gap] = [760, 190, 16, 4]
const escape = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
const colours = (label: string) =>
  label.startsWith('clamdscan') ? '#94a3b8' : label.startsWith('bare') ? '#64748b' : '#2563eb'

export function plot({ drains, scaleOut }: Pick<Results, 'drains' | 'scaleOut'>): string {
  const parts: string[] = []
  let y = 10
  const text = (x: number, at: number, content: string, more = '') =>
    parts.push(`<text x="${x}" y="${at}" ${more}>${escape(content)}</text>`)
  for (const { title, bars } of drains) {
    y += 18
    text(10, y, title, 'font-weight="bold"')
    y += 8
    const most = Math.max(...bars.map(({ value }) => value))
    for (const { label, value } of bars) {
      const length = (value / most) * (width - left - 90)
      text(left - 8, y + 12, label, 'text-anchor="end"')
      parts.push(
        `<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" fill="${colours(label)}"/>`,
      )
      text(left + length + 6, y + 12, value >= 100 ? value.toFixed(0) : value.toFixed(1))
      y += barHeight + gap
    }
  }
  y += 24
  text(
    10,
    y,
    'Scale-out: an engine that sleeps 50 ms per scan, objects/s by workers (grey: linear)',
    'font-weight="bold"',
  )
  const [plotTop, plotHeight] = [y + 12, 170]
  const [mostWorkers, mostRate] = [
    Math.max(...scaleOut.map(({ workers }) => workers), 1),
    Math.max(...scaleOut.map(({ workers }) => workers * (scaleOut[0]?.rate ?? 1)), 1),
  ]
  const x = (workers: number) => left + (workers / mostWorkers) * (width - left - 90)
  const v = (rate: number) => plotTop + plotHeight - (rate / mostRate) * plotHeight
  const line = (points: readonly (readonly [number, number])[], colour: string) =>
    parts.push(
      `<polyline points="${points.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
    )
  line(
    [
      [x(0), v(0)],
      [x(mostWorkers), v(mostRate)],
    ],
    '#94a3b8',
  )
  line(
    [[x(0), v(0)], ...scaleOut.map(({ workers, rate }) => [x(workers), v(rate)] as const)],
    '#2563eb',
  )
  for (const { workers, rate } of scaleOut) {
    parts.push(
      `<circle cx="${x(workers).toFixed(1)}" cy="${v(rate).toFixed(1)}" r="3" fill="#2563eb"/>`,
    )
    text(x(workers) + 5, v(rate) + 14, `${workers}: ${rate.toFixed(0)}`)
  }
  const height = plotTop + plotHeight + 24
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#0f172a">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}
