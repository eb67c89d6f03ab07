// Looks into one object, and into the containers in it that can be unpacked cheaply: zip, gzip, tar and mail.
import { toError } from '../../shared/errors.ts'
import { printable } from '../../shared/printable.ts'
import { lookIntoBzip2 } from './bzip2.ts'
import { lookIntoCab } from './cab.ts'
import { Cursor } from './cursor.ts'
import { embeddedIn } from './embedded.ts'
import { Ending } from './ending.ts'
import { overlayOf } from './exe.ts'
import { extentOf, type Range } from './extent.ts'
import { gunzip } from './gzip.ts'
import { formatOf, formatOfTail, headBytes, type Format } from './magic.ts'
import { inflated } from './inflate.ts'
import { lookIntoLha } from './lha.ts'
import { lookIntoMail } from './mail.ts'
import { lookIntoOle } from './ole.ts'
import { lookIntoPdf } from './pdf.ts'
import { CannotLookError, damaged, formatReasons, much, tooMuchToHold, type Seen } from './seen.ts'
import { lookInto7z } from './seven-zip.ts'
import { furtherIn, prefixOf } from './several.ts'
import { bytesOf, chunksOf, rangeOf, type Source } from './source.ts'
import { readTar } from './tar.ts'
import { lookIntoXz } from './xz.ts'
import { lookIntoZlib } from './zlib.ts'
import { endsBefore, lookIntoZip } from './zip.ts'
import { placesOfZips, tailBytes, zipEndIn } from './zip-end.ts'

/** Where something stands: nothing for the object itself, else ` in the member "a.7z"`. */
interface Place {
  name: string
  where: string
  depth: number
}

/** Nothing that has anything in it, as far as its first and last bytes tell: most objects are. */
export async function isPlain(
  source: Source,
  name: string,
  encoding = '',
  signal = never,
): Promise<boolean> {
  if (formatOf(await source.read(0, headBytes)) !== undefined) return false
  const tail = await tailOf(source)
  return (
    !isBrotli(name) &&
    unpackedByReaders(encoding).length === 0 &&
    formatOfTail(tail) === undefined &&
    !tail.includes(zipEnd) &&
    (await embeddedIn(source, signal)).length === 0
  )
}

const never = new AbortController().signal

const zipEnd = Buffer.from('PK\x05\x06', 'latin1')
const brotli: Format = { name: 'brotli', what: 'Brotli (by its name)' }
/** It has no magic number, so its name has to tell. */
const isBrotli = (name: string) => /\.br$/i.test(name)

function tailOf(source: Source): Buffer | Promise<Buffer> {
  const at = Math.max(0, source.size - tailBytes)
  return source.read(at, source.size - at)
}

/** `encoding`: what the store says of an object as its Content-Encoding. */
export async function look(source: Source, name: string, seen: Seen, encoding = ''): Promise<void> {
  if (source.size > 0)
    for (const packed of unpackedByReaders(encoding))
      seen.need({ format: packed, kind: packed, what: `Content-Encoding ${packed}`, where: '' })
  await lookAt(source, { name, where: '', depth: 0 }, seen)
}

/** Which of `encoding` a browser undoes, and no first bytes tell. */
function unpackedByReaders(encoding: string): string[] {
  const names = encoding.toLowerCase().split(/[\s,]+/)
  return ['brotli', 'deflate', 'zstd'].filter((name) =>
    names.includes(name === 'brotli' ? 'br' : name),
  )
}

/** Whether there is anything known in it. */
async function lookAt(source: Source, place: Place, seen: Seen): Promise<boolean> {
  const head = await source.read(0, headBytes)
  const format = formatOf(head)
  const tail = await tailOf(source)
  const covered: Range[] = []
  if (format !== undefined)
    await orProblem(format, place, seen, () => lookInto(format, source, place, seen, covered))
  else if (isBrotli(place.name) && source.size > 0) needOf(brotli, place, seen)
  const further = await furtherIn(source, head, format, seen.signal)
  for (const kind of further) seen.need({ ...kind, where: place.where })
  const atEnd = formatOfTail(tail)
  if (atEnd !== undefined && atEnd.name !== format?.name) needOf(atEnd, place, seen)
  // Whatever a file begins with, it may be a zip from behind.
  const zip = tail.includes(zipEnd) || format?.look === 'zip'
  if (zip)
    await orProblem(zipFormat, place, seen, () =>
      zipAt(source, { head, tail, format, covered }, place, seen),
    )
  return format !== undefined || zip || atEnd !== undefined || further.length > 0
}

const zipFormat: Format = { name: 'zip', what: 'zip' }

const needOf = ({ name, what }: Format, { where }: Place, seen: Seen) =>
  seen.need({ format: name.replace(/:.*/, ''), kind: name, what, where })

/** What cannot be read is a problem of the object, never of the worker. */
async function orProblem(
  { name, what }: Format,
  { where }: Place,
  seen: Seen,
  action: () => Promise<void>,
): Promise<void> {
  try {
    await action()
  } catch (thrown) {
    seen.signal.throwIfAborted()
    const error = toError(thrown)
    // The file could not be read.
    if ('syscall' in error) throw error
    const reason = error instanceof CannotLookError ? error.reason : formatReasons.damaged
    seen.problem({ reason, format: name, detail: `${what}${where}: ${error.message}` })
  }
}

/** `covered`: where the members stand that were looked at. */
async function lookInto(
  format: Format,
  source: Source,
  place: Place,
  seen: Seen,
  covered: Range[],
): Promise<void> {
  const { where, depth } = place
  await seen.member(depth)
  switch (format.look) {
    case undefined:
      return needOf(format, place, seen)
    case 'zip':
      return
    case 'gzip':
      needOf(format, place, seen)
      return gzipAt(source, place, seen, covered)
    case 'tar':
      needOf(format, place, seen)
      return readTar(
        new Cursor(chunksOf(source)),
        seen,
        where,
        depth,
        async ({ name, size, at }) => {
          await lookAt(rangeOf(source, at, size), inside(place, name), seen)
          covered.push([at, at + size])
        },
      )
    case 'bzip2':
      return lookIntoBzip2(source, seen, where)
    case 'xz':
      return lookIntoXz(source, seen, where, depth)
    case '7z':
      return lookInto7z(source, seen, where)
    case 'cab':
      return lookIntoCab(source, seen, where)
    case 'ole':
      return lookIntoOle(source, seen, where)
    case 'pdf':
      return lookIntoPdf(source, seen, where, depth, (bytes) =>
        lookAt(bytesOf(bytes), inside(place, 'an attachment'), seen),
      )
    case 'exe':
      return overlayAt(source, place, seen)
    case 'mail':
      return lookIntoMail(source, seen, where, depth, ({ name, bytes }) =>
        lookAt(bytesOf(bytes), inside(place, name), seen),
      )
    case 'lha':
      return lookIntoLha(source, seen, where, depth)
    case 'zlib':
      return lookIntoZlib(source, seen, where, async (bytes) => {
        await lookAt(bytesOf(bytes), { ...place, depth: depth + 1 }, seen)
      })
  }
}

function inside({ where, depth }: Place, name: string): Place {
  const shown = printable(name.length > 100 ? `${name.slice(0, 100)}…` : name)
  return {
    name,
    where: where === '' ? ` in the member ${shown}` : `${where} > ${shown}`,
    depth: depth + 1,
  }
}

interface Seeing {
  head: Buffer
  tail: Buffer
  format: Format | undefined
  covered: readonly Range[]
}

async function zipAt(
  source: Source,
  { head, tail, format, covered }: Seeing,
  place: Place,
  seen: Seen,
): Promise<void> {
  const end = await zipEndIn(source, tail)
  if (end === undefined) {
    if (format?.look === 'zip') throw damaged('its directory is missing')
    return
  }
  if (isWithin([end.start, end.stop], covered)) return
  const extent = format === undefined ? undefined : await extentOf(format, source, seen)
  const others = extent === undefined ? covered : [...covered, extent]
  // Behind what it was made of, such a file has nothing more.
  const prefix =
    format?.look === 'tar' || format?.look === 'gzip'
      ? 'displaced'
      : prefixOf(head, format, end.start)
  const among = { prefix, others }
  await lookIntoZip(source, end, among, seen, place.where, place.depth, async (member) => {
    const { format: inner, unpackedSize: size, source: data, streamed = false } = member
    const into = inside(place, member.name)
    if (size === undefined) return lookAt(data, into, seen).then(() => undefined)
    const unpacked = async function* () {
      if ((yield* inflated(data, 0, seen)) < data.size) throw endsBefore()
    }
    const open = () => new Cursor(unpacked())
    const cursor = open()
    try {
      await lookAtPacked(cursor, inner, size, into, seen, open)
      // What lies behind the end of its data shows there alone.
      if (streamed) await cursor.skip(size - cursor.position)
      if (cursor.position === size && (await cursor.peek(1)).length > 0)
        throw damaged('a member is larger than it says')
    } finally {
      await cursor.close()
    }
    return undefined
  })
}

async function gzipAt(source: Source, place: Place, seen: Seen, covered: Range[]): Promise<void> {
  const open = () => new Cursor(gunzip(source, seen, place.where))
  const cursor = new Cursor(gunzip(source, seen, place.where, (data) => covered.push(data)))
  try {
    const format = formatOf(await cursor.peek(headBytes))
    const into = { ...place, name: place.name.replace(/\.gz$/i, ''), depth: place.depth + 1 }
    if (format?.look === 'tar') {
      needOf(format, into, seen)
      await orProblem(format, into, seen, async () => {
        await tarInStream(cursor.rest(), into, seen, open)
      })
    } else await lookAtPacked(cursor, format, undefined, into, seen, open)
    // To its end: only there a cut, and further members, show.
    for await (const _ of cursor.rest());
  } finally {
    await cursor.close()
  }
}

/** Programs and documents: files first of all. One that is too large to be held is left to the engine. */
const files = new Set<Format['look']>(['exe', 'pdf', 'ole', 'mail'])
const unknown: Format = { name: 'other', what: 'a file' }

/**
 * What the cursor stands before has to be unpacked into memory before it can be looked at. `size`: undefined where it goes on to
 * the cursor's end. `again`: another cursor at the same place.
 */
async function lookAtPacked(
  cursor: Cursor,
  format: Format | undefined,
  size: number | undefined,
  place: Place,
  seen: Seen,
  again: () => Cursor | Promise<Cursor>,
): Promise<void> {
  await orProblem(format ?? unknown, place, seen, async () => {
    const little = await cursor.peek(Math.min(much, seen.free, size ?? much))
    const whole = size === undefined ? little.length < much : little.length === size
    if (whole) {
      await cursor.take(little.length)
      if (size === undefined && (await cursor.peek(1)).length > 0) throw tooMuchToHold(seen.free)
      await seen.holding(little.length, () => lookAt(bytesOf(little), place, seen))
      return undefined
    }
    if (format === undefined) {
      // Only its beginning and its end can say that there is more in it.
      const known = (await embeddedIn(bytesOf(little), seen.signal)).length > 0
      const { tail, length } = await passed(cursor, size)
      if (size !== undefined && length < size) throw damaged('a member is smaller than it says')
      if (isBrotli(place.name)) return needOf(brotli, place, seen)
      if (!known && formatOfTail(tail) === undefined && !tail.includes(zipEnd)) return undefined
    } else if (format.look === undefined) return needOf(format, place, seen)
    if (format?.look === 'tar' && size !== undefined && size > seen.free) {
      await seen.member(place.depth)
      needOf(format, place, seen)
      const head = little.subarray(0, headBytes)
      for (const kind of await furtherIn(bytesOf(little), head, format, seen.signal))
        seen.need({ ...kind, where: place.where })
      if ((await tarInStream(cursor.next(size), place, seen, again)) < size)
        throw damaged('a member is smaller than it says')
      return undefined
    }
    const most = size ?? seen.free
    if (most > seen.limits.heldBytes && files.has(format?.look)) return undefined
    return seen.holding(most, async () => {
      const from = format === undefined ? await again() : cursor
      try {
        const bytes = await from.take(most)
        if (size === undefined && (await from.peek(1)).length > 0) throw tooMuchToHold(most)
        if (size !== undefined && bytes.length < size)
          throw damaged('a member is smaller than it says')
        await lookAt(bytesOf(bytes), place, seen)
      } finally {
        if (from !== cursor) await from.close()
      }
    })
  })
}

/** A tar that only comes in order; how much came. `again`: another cursor at its beginning. */
async function tarInStream(
  chunks: AsyncIterable<Buffer>,
  place: Place,
  seen: Seen,
  again: () => Cursor | Promise<Cursor>,
): Promise<number> {
  const { where, depth } = place
  const members: Range[] = []
  const ending = new Ending()
  const cursor = new Cursor(
    (async function* () {
      for await (const chunk of chunks) {
        ending.add(chunk)
        yield chunk
      }
    })(),
  )
  try {
    await readTar(cursor, seen, where, depth, async ({ name, format, size, at }) => {
      members.push([at, at + size])
      await lookAtPacked(cursor, format, size, inside(place, name), seen, async () => {
        const other = await again()
        await other.skip(at)
        return other
      })
    })
    for await (const _ of cursor.rest());
  } finally {
    await cursor.close()
  }
  const { tail, length } = ending
  const atEnd = formatOfTail(tail)
  if (atEnd !== undefined) needOf(atEnd, place, seen)
  // It cannot be read from behind, and one within a member was looked at.
  if (placesOfZips(tail, length).some((zip) => !isWithin(zip, members)))
    seen.need({ format: 'zip', kind: 'zip:displaced', what: 'zip behind other data', where })
  return length
}

const isWithin = ([from, to]: Range, ranges: readonly Range[]) =>
  ranges.some(([start, stop]) => start <= from && to <= stop)

/** Passes `size` bytes, or all that comes. */
async function passed(cursor: Cursor, size = Infinity): Promise<Ending> {
  const ending = new Ending()
  for await (const chunk of cursor.next(size)) ending.add(chunk)
  return ending
}

/** Behind a program's own end, or anywhere in its first megabyte. */
async function overlayAt(source: Source, place: Place, seen: Seen): Promise<void> {
  const at = await overlayOf(source)
  if (at !== undefined) await archiveAt(source, at, place, seen)
  for (const found of await embeddedIn(source, seen.signal))
    if (found.at !== at) await archiveAt(source, found.at, place, seen)
}

async function archiveAt(source: Source, at: number, place: Place, seen: Seen): Promise<void> {
  const overlay = rangeOf(source, at, source.size - at)
  const format = formatOf(await overlay.read(0, headBytes))
  // The zip is found from behind.
  if (format === undefined || format.look === 'zip' || format.look === 'exe') return
  seen.need({
    format: format.name,
    kind: `exe:${format.name}`,
    what: `${format.what} behind a program`,
    where: place.where,
  })
  await lookAt(overlay, place, seen)
}
