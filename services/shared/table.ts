// Text tables for people: columns as wide as their widest cell.

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
