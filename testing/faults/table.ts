// The results as people read them.
import type { RowResult } from './play.ts'

const columns: [string, (row: RowResult) => string | number][] = [
  ['fault', ({ title }) => title.replaceAll('|', '\\|')],
  ['objects', ({ objects }) => objects],
  ['verdicts true', ({ verdictsTrue }) => verdictsTrue],
  ['lost', ({ lost }) => lost],
  ['wrongly deleted', ({ wronglyDeleted }) => wronglyDeleted],
  ['webhooks lost', ({ webhooksLost }) => webhooksLost],
  ['duplicates', ({ duplicates }) => duplicates],
  ['healed by a sweep', ({ healed }) => healed],
  ['scans per object', ({ scansPerObject }) => scansPerObject.toFixed(2)],
  ['seconds to quiet', ({ secondsToQuiet }) => secondsToQuiet.toFixed(1)],
]

/** One table for each store. */
export function markdown(rows: readonly RowResult[]): string {
  const texts: string[] = []
  for (const store of new Set(rows.map((row) => row.store))) {
    const played = rows.filter((row) => row.store === store && row.skipped === undefined)
    const sum = (of: (row: RowResult) => number) => played.reduce((all, row) => all + of(row), 0)
    texts.push(
      `**${store === 'minio' ? 'MinIO' : 'VersityGW'}**`,
      '',
      `| ${columns.map(([name]) => name).join(' | ')} |`,
      `|---|${columns
        .slice(1)
        .map(() => '---:|')
        .join('')}`,
      ...played.map((row) => `| ${columns.map(([, of]) => of(row)).join(' | ')} |`),
      `| **all** | ${[
        sum((row) => row.objects),
        sum((row) => row.verdictsTrue),
        sum((row) => row.lost),
        sum((row) => row.wronglyDeleted),
        sum((row) => row.webhooksLost),
        sum((row) => row.duplicates),
        sum((row) => row.healed),
      ].join(' | ')} | | |`,
      '',
    )
  }
  return texts.join('\n')
}
