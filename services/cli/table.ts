// Text tables for people: columns as wide as their widest cell, redrawn in place on a terminal.

/** Cells beyond `maxWidth` are cut in the middle, where keys are least telling. */
export function renderTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  maxWidth = 60,
): string[] {
  const shown = [head, ...rows].map((row) => row.map((cell) => shorten(cell, maxWidth)))
  const widths = head.map((_, column) => Math.max(...shown.map((row) => row[column]?.length ?? 0)))
  return shown.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

function shorten(cell: string, maxWidth: number): string {
  if (cell.length <= maxWidth) return cell
  const half = Math.floor((maxWidth - 1) / 2)
  return `${cell.slice(0, maxWidth - 1 - half)}…${cell.slice(-half)}`
}

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
