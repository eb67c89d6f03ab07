// Dead letters as a table for people or as JSON lines for programs. Everything in them is foreign text.
import { renderTable } from '../shared/table.ts'
import type { Letter } from './letter.ts'
import { printable } from '../shared/printable.ts'
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
  const widthOf = (column: number) =>
    Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0))
  // Object and error share what the short columns leave; the error has what the object does not need.
  const short = [0, 1, 2, 3].reduce((sum, at) => sum + Math.min(widthOf(at), most) + 2, 0)
  const room = Math.max(width - short - 2, 2 * least)
  const objectWidth = Math.min(widthOf(4), Math.max(Math.floor(room / 2), room - widthOf(5)))
  const limits = [most, most, most, most, objectWidth, room - objectWidth]
  const cut = rows.map((row) =>
    row.map((cell, column) => shortenEnd(cell, limits[column] ?? Infinity)),
  )
  return text(renderTable(head, cut, Infinity))
}

/** Columns of a short cell at most, and of object and error at least. */
const most = 32
const least = 20

const text = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('')

function shortenEnd(cell: string, length: number): string {
  return cell.length <= length ? cell : `${cell.slice(0, length - 1)}…`
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
  const { diedAt, body, otherwise: _, fromStore: __, ...rest } = letter
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
