// Tables that are redrawn in place on a terminal.
import { renderTable } from '../shared/table.ts'

export { renderTable }

export interface LiveTable {
  draw(rows: readonly (readonly string[])[]): void
}

/** On a terminal the whole table is drawn again; elsewhere only rows that are new or have changed, then nothing twice. */
export function liveTable(
  head: readonly string[],
  out: { isTTY?: boolean; write(text: string): unknown },
  isDone: (row: readonly string[]) => boolean,
): LiveTable {
  let drawn = 0
  const printed = new Set<number>()
  return {
    draw(rows) {
      const [first = '', ...lines] = renderTable(head, rows)
      if (out.isTTY === true) {
        out.write(
          `${drawn > 0 ? `\u001b[${drawn}A` : ''}${[first, ...lines].map((line) => `\u001b[2K${line}\n`).join('')}`,
        )
        drawn = lines.length + 1
        return
      }
      if (drawn === 0) out.write(`${first}\n`)
      drawn = 1
      for (const [index, row] of rows.entries()) {
        if (printed.has(index) || !isDone(row)) continue
        printed.add(index)
        out.write(`${lines[index] ?? ''}\n`)
      }
    },
  }
}
