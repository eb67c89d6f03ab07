// Which known key somebody may have meant by an unknown one.

/** The same word anywhere, whatever its case, `-` and `_`; else one that is two letters away in the same section. */
export function nearestKey(unknown: string, known: readonly string[]): string | undefined {
  return (
    known.find((path) => word(path) === word(unknown)) ??
    known.find(
      (path) => section(path) === section(unknown) && distance(word(path), word(unknown)) <= 2,
    )
  )
}

function word(path: string): string {
  return path
    .slice(path.lastIndexOf('.') + 1)
    .toLowerCase()
    .replaceAll(/[_-]/g, '')
}

function section(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('.')))
}

/** Letters to add, drop or change to make one word of the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [index, letter] of a.split('').entries()) {
    const next = [index + 1]
    for (let column = 1; column <= b.length; column++) {
      const changed = (row[column - 1] ?? 0) + (letter === b[column - 1] ? 0 : 1)
      next.push(Math.min((row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1, changed))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
