// What the bench found, as a table for people, and the closing table with the targets.
export interface Figure {
  section: string
  name: string
  value: string
}

/** One row of the closing table. */
export interface Target {
  name: string
  measured: string
  target: string
  met: boolean
  /** Why not, where it is not met. */
  why?: string
}

export interface Bar {
  label: string
  value: number
}

export interface Results {
  figures: Figure[]
  targets: Target[]
  /** Objects a second, for the plot: one group for each corpus and signature set. */
  drains: { title: string; bars: Bar[] }[]
  scaleOut: { workers: number; rate: number }[]
}

export const median = (values: readonly number[]): number => percentile(values, 0.5)

/** The smallest value that this share of all is not above. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

export const round = (value: number, digits = 0): string => value.toFixed(digits)

const cell = (text: string) => text.replaceAll('|', '\\|')

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [
    `| ${head.join(' | ')} |`,
    `|${head.map(() => '---').join('|')}|`,
    ...rows.map((row) => `| ${row.map(cell).join(' | ')} |`),
  ]
}

export function figuresTable(figures: readonly Figure[]): string {
  const lines: string[] = []
  for (const [section, rows] of Map.groupBy(figures, (figure) => figure.section))
    lines.push(
      `**${section}**`,
      '',
      ...table(
        ['figure', 'measured'],
        rows.map(({ name, value }) => [name, value]),
      ),
      '',
    )
  return lines.join('\n')
}

export function targetsTable(targets: readonly Target[]): string {
  return table(
    ['figure', 'measured', 'target', ''],
    targets.map(({ name, measured, target, met, why }) => [
      name,
      measured,
      target,
      met ? 'met' : `not met: ${why ?? 'see the profile'}`,
    ]),
  ).join('\n')
}
