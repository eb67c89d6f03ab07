// Mails: their parts, however they are packed.
import { setImmediate } from 'node:timers/promises'
import { formatOf, headBytes } from './magic.ts'
import type { Seen } from './seen.ts'
import { rangeOf, type Source } from './source.ts'
import { quotedPrintable, uudecoded } from './transfer-encodings.ts'

/** Of one part, behind what says how it is packed. */
const longestHeaders = 8 * 1024
/** More is read in pieces, where it can be parted. */
const pieceBytes = 16 * 1024 ** 2
const said = /^content-transfer-encoding[ \t]*:((?:[^\n]|\n[ \t])*)/gim
/** Lines may end with any of the three that there are. */
const blankLine = /\r?\n\r?\n|\r\r/
const dashes = /[\r\n]--/g
const mailBegin = /\n\r?\nFrom \S(?=[^\n]{0,1000}\n[\w-]{1,100}:)/g
const zipEnd = Buffer.from('PK\x05\x06', 'latin1')

export interface Attachment {
  name: string
  bytes: Buffer
}

interface Encoding {
  name: 'base64' | 'quoted-printable' | 'uuencode' | 'as it is'
  unpack: (text: string) => Buffer
}

const asItIs: Encoding = { name: 'as it is', unpack: (text) => Buffer.from(text, 'latin1') }

function encodingOf(value: string): Encoding {
  if (/base64/i.test(value))
    return { name: 'base64', unpack: (text) => Buffer.from(text, 'base64') }
  if (/quoted-printable/i.test(value)) return { name: 'quoted-printable', unpack: quotedPrintable }
  if (/uue/i.test(value)) return { name: 'uuencode', unpack: uudecoded }
  return asItIs
}

/** Calls `attachment` with each part, unpacked; it says whether anything known was in it. @throws CannotLookError */
export async function lookIntoMail(
  source: Source,
  seen: Seen,
  where: string,
  depth: number,
  attachment: (attachment: Attachment) => Promise<boolean>,
): Promise<void> {
  seen.need({ format: 'mail', kind: 'mail', what: 'mail', where })
  const isBox = (await source.read(0, 5)).toString('latin1') === 'From '
  const before: Before = { names: new Set(), isBox, begun: undefined, open: undefined }
  for await (const piece of piecesOf(source, before, seen))
    await lookIntoPiece(piece, before, seen, where, depth, attachment)
}

/** What earlier pieces said. */
interface Before {
  /** What some header calls the boundary. */
  names: Set<string>
  isBox: boolean
  /** Whether the mail began for an engine; undefined: there was no piece yet. */
  begun: boolean | undefined
  /** How the part is packed that went on to the end of the piece. */
  open: Encoding | undefined
}

async function lookIntoPiece(
  source: Source,
  before: Before,
  seen: Seen,
  where: string,
  depth: number,
  attachment: (attachment: Attachment) => Promise<boolean>,
): Promise<void> {
  const needArchive = (name: string) =>
    seen.need({
      format: 'mail',
      kind: `mail:${name}`,
      what: `mail with an archive that is ${name}`,
      where,
    })
  await seen.holding(source.size * 2, async () => {
    const text = (await source.read(0, source.size)).toString('latin1')
    const boundaries = boundariesIn(text, before.names)
    const places: Places = { boundaries, mails: mailsIn(text, before) }
    const known = beginIn(text, before)
    if (before.open !== undefined) {
      const stop = boundaries[0] ?? text.length
      const { name, unpack } = before.open
      // Whoever takes a mailbox for one mail goes on here; how it began was in the piece before.
      if (unpack(text.slice(0, stop)).includes(zipEnd)) needArchive(name)
      if (stop < text.length) before.open = undefined
    }
    const part = async (index: number, value: string | undefined) => {
      await seen.member(depth)
      // Each may be as long as the whole mail.
      await setImmediate()
      const rest = text.slice(index, index + longestHeaders)
      const blank = blankLine.exec(rest)
      if (blank === null) return
      if (value === undefined && rest.slice(0, blank.index).search(said) >= 0) return
      const begin = index + blank.index + blank[0].length
      const encoding = encodingOf(value ?? '')
      const [stop, isMail] = endOf(text, index, begin, encoding, places)
      if (stop === text.length && !isMail) before.open = encoding
      const bytes = encoding.unpack(text.slice(begin, stop))
      seen.unpacked(bytes.length)
      // A mail in a mail is in this text as well.
      if (encoding === asItIs && formatOf(bytes.subarray(0, headBytes))?.look === 'mail') return
      const headers = text.slice(Math.max(0, index - 1024), begin)
      const name = [...headers.matchAll(/name\*?="?([^"\r\n;]{1,100})/gi)].at(-1)?.[1]
      const odd =
        blank[0] === '\r\r'
          ? 'with lines that end with CR'
          : known <= index || encoding === asItIs
            ? undefined
            : 'that begins with no usual header'
      if (odd !== undefined)
        seen.need({ format: 'mail', kind: `mail:${odd}`, what: `mail ${odd}`, where })
      const isKnown = await attachment({ name: name ?? 'an attachment', bytes })
      if (isKnown && encoding.name !== 'base64') needArchive(encoding.name)
    }
    for (const { index, 1: value } of text.matchAll(said)) await part(index, value ?? '')
    for (const index of boundaries) await part(index, undefined)
  })
}

/** A mailbox by several mails at a time; what has no parts in it is left out. */
async function* piecesOf(source: Source, before: Before, seen: Seen): AsyncGenerator<Source> {
  const most = Math.min(pieceBytes, Math.floor(seen.limits.heldBytes / 4))
  let at = 0
  while (source.size - at > most) {
    const [cut, hasParts] = await seen.holding(most * 2, async () => {
      const text = (await source.read(at, most)).toString('latin1')
      const hasBoundaries = boundariesIn(text, before.names).length > 0
      if (hasBoundaries || before.open !== undefined || parts.test(text))
        return [before.isBox ? cutIn(text, before) : 0, true]
      beginIn(text, before)
      return [endOfLines(text), false]
    })
    if (cut === 0) break
    if (hasParts) yield rangeOf(source, at, cut)
    at += cut
    seen.signal.throwIfAborted()
    await setImmediate()
  }
  yield rangeOf(source, at, source.size - at)
}

const parts = /content-transfer-encoding|boundary\S{0,3}[ \t]*=/i
const longestLine = 1024

/** The last line may go on in the next piece. */
function endOfLines(text: string): number {
  return text.lastIndexOf('\n') + 1 || text.length - longestLine
}

/** Where the last mail begins, but never within an attachment; 0 when none does. */
function cutIn(text: string, { names }: Before): number {
  const marks =
    /^content-transfer-encoding:\s*"?base64|\n--([^\r\n]{0,200})|\n\r?\nFrom \S(?=[^\n]{0,1000}\n[\w-]{1,100}:)/gim
  let cut = 0
  let [isBase64, isPart] = [false, false]
  for (const { index, 0: mark, 1: line } of text.matchAll(marks))
    if (line !== undefined) {
      isBase64 = false
      if (isBoundary(line, names)) isPart = names.has(line.trim())
    } else if (!mark.startsWith('\n')) isBase64 = true
    else if (!isBase64 && !isPart) cut = index + mark.indexOf('From ')
  return cut
}

/** Where a mail begins for an engine that goes by usual headers: what is said before is lost on ClamAV. */
function beginIn(text: string, before: Before): number {
  const begin = before.begun === true ? 0 : firstHeaderIn(text, before.begun === undefined)
  before.begun = begin < Infinity
  return begin
}

function firstHeaderIn(text: string, isStart: boolean): number {
  const first =
    /^(?:>?From |(?:Date|Delivered-To|From|Message-ID|Received|Return-Path|Subject|To): )/
  if (isStart && first.test(text)) return 0
  const further = text.search(/^(?:[Mm][Ii][Mm][Ee]-[Vv][Ee][Rr][Ss][Ii][Oo][Nn]|From|Received): /m)
  return further < 0 ? Infinity : further
}

/** Where the lines stand that part one part from the next: two dashes and what some header calls the boundary. */
function boundariesIn(text: string, names: Set<string>): number[] {
  for (const [, name] of text.matchAll(/boundary\*?0?\*?[ \t]*=[ \t]*"?([^"\r\n;]+)/gi))
    names.add(name?.trim() ?? '')
  const places: number[] = []
  if (names.size === 0) return places
  for (const { index, 1: line } of text.matchAll(/(?:^|[\r\n])--([^\r\n]{1,200})/g))
    if (isBoundary(line ?? '', names)) places.push(index)
  return places
}

function isBoundary(line: string, names: ReadonlySet<string>): boolean {
  const name = line.trim()
  return names.has(name) || names.has(name.replace(/--$/, ''))
}

interface Places {
  boundaries: readonly number[]
  /** Where further mails of a mailbox begin. */
  mails: readonly number[]
}

function mailsIn(text: string, { isBox, begun }: Before): number[] {
  if (!isBox) return []
  const mails = [...text.matchAll(mailBegin)].map(({ index }) => index)
  return begun === undefined ? mails : [-1, ...mails]
}

/** Where the part ends that is said at `index`, and whether it is a mail of a mailbox. */
function endOf(
  text: string,
  index: number,
  begin: number,
  { name }: Encoding,
  { boundaries, mails }: Places,
): [stop: number, isMail: boolean] {
  const next = (places: readonly number[], at: number) =>
    places[countBelow(places, at)] ?? text.length
  let stop: number
  // It has no dashes.
  if (name === 'base64') {
    dashes.lastIndex = begin - 1
    stop = dashes.exec(text)?.index ?? text.length
  } else stop = next(boundaries, begin - 1)
  // Whoever takes a mailbox for one mail takes all that follows for the first.
  const mail = mails[countBelow(mails, index) - 1]
  const boundary = boundaries[countBelow(boundaries, index + 1) - 1] ?? -Infinity
  if (mail === undefined || boundary > mail) return [stop, false]
  // Behind headers alone the blank line belongs to both.
  return [Math.min(stop, next(mails, begin - 4)), true]
}

function countBelow(places: readonly number[], at: number): number {
  let [low, high] = [0, places.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((places[middle] ?? 0) < at) low = middle + 1
    else high = middle
  }
  return low
}
