// Dead letters as a table for people or as JSON lines for programs. Everything in them is foreign text.
import { renderTable } from '../shared/table.ts'
import type { Letter } from './letter.ts'
import { printable } from './printable.ts'
import { renderAge } from './terminal.ts'

export interface ListOptions {
  /** Columns of the terminal; cells are shortened to fit. Infinity: nothing is. */
  width: number
  /** In milliseconds. */
  now: number
}

const head = ['age', 'reason', 'queue', 'attempts', 'object', 'last error']

export function renderLetters(letters: readonly Letter[], { width, now }: ListOptions): string {
  const rows = letters.map((letter) => [
    letter.diedAt === undefined ? '?' : renderAge(now - letter.diedAt.getTime()),
    printable(letter.reason),
    printable(letter.origin ?? 'unknown'),
    letter.attempts === undefined ? '' : String(letter.attempts),
    renderObjects(letter, width === Infinity),
    printable(letter.error),
  ])
  if (width === Infinity) return text(renderTable(head, rows, Infinity))
  // The error gets what the others leave, and never less than a third of the line.
  const errorWidth = Math.max(Math.floor(width / 3), 20)
  const objectWidth = Math.max(Math.floor(width / 3), 20)
  const cut = rows.map((row) =>
    row.map((cell, column) => shortenEnd(cell, column === 4 ? objectWidth : 32)),
  )
  const taken = renderTable(
    head.slice(0, -1),
    cut.map((row) => row.slice(0, -1)),
  ).reduce((most, line) => Math.max(most, line.length), 0)
  const room = Math.max(errorWidth, width - taken - 2)
  return text(
    renderTable(
      head,
      cut.map((row, index) => [...row.slice(0, -1), shortenEnd(rows[index]?.at(-1) ?? '', room)]),
      Infinity,
    ),
  )
}

const text = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('')

function shortenEnd(cell: string, most: number): string {
  return cell.length <= most ? cell : `${cell.slice(0, most - 1)}…`
}

function renderObjects({ objects, otherwise }: Letter, all: boolean): string {
  const shown = all ? objects : objects.slice(0, 1)
  const more = objects.length - shown.length
  return shown.length === 0
    ? `(${otherwise})`
    : `${more > 0 ? `${more + 1} objects: ` : ''}${shown.map(nameOf).join(', ')}`
}

function nameOf({ bucket, key, versionId }: Letter['objects'][number]): string {
  return printable(`${bucket}/${key}${versionId === undefined ? '' : ` (${versionId})`}`)
}

/** Everything there is, in one line; a body that is no UTF-8 is in `bodyBase64`. */
export function toJsonLine(letter: Letter, now: number): string {
  const { diedAt, body, otherwise: _, ...rest } = letter
  const content = body.toString('utf8')
  const isText = Buffer.from(content).equals(body)
  const line = {
    when: diedAt?.toISOString(),
    ageSeconds: diedAt === undefined ? undefined : Math.floor((now - diedAt.getTime()) / 1000),
    ...rest,
    ...(isText ? { body: content } : { bodyBase64: body.toString('base64') }),
  }
  return `${printable(JSON.stringify(line))}\n`
}
