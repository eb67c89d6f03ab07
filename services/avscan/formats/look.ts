// Looks into one object, and into the containers in it that can be unpacked cheaply: zip, gzip, tar and mail.
import { toError } from '../../shared/errors.ts'
import { printable } from '../../shared/printable.ts'
import { lookIntoBzip2 } from './bzip2.ts'
import { lookIntoCab } from './cab.ts'
import { Cursor } from './cursor.ts'
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
import { bytesOf, chunksOf, rangeOf, type Source } from './source.ts'
import { readTar } from './tar.ts'
import { lookIntoXz } from './xz.ts'
import { lookIntoZlib } from './zlib.ts'
import { lookIntoZip } from './zip.ts'
import { tailBytes, zipEndIn } from './zip-end.ts'

/** Where something stands: nothing for the object itself, else ` in the member "a.7z"`. */
interface Place {
  name: string
  where: string
  depth: number
}

/** Nothing that has anything in it, as far as its first and last bytes tell: most objects are. */
export async function isPlain(source: Source, name: string): Promise<boolean> {
  if (formatOf(await source.read(0, headBytes)) !== undefined) return false
  const tail = await tailOf(source)
  return !isBrotli(name) && formatOfTail(tail) === undefined && !tail.includes(zipEnd)
}

const zipEnd = Buffer.from('PK\x05\x06', 'latin1')
/** It has no magic number, so its name has to tell. */
const isBrotli = (name: string) => /\.br$/i.test(name)

function tailOf(source: Source): Buffer | Promise<Buffer> {
  const at = Math.max(0, source.size - tailBytes)
  return source.read(at, source.size - at)
}

export async function look(source: Source, name: string, seen: Seen): Promise<void> {
  await lookAt(source, { name, where: '', depth: 0 }, seen)
}

async function lookAt(source: Source, place: Place, seen: Seen): Promise<void> {
  const head = await source.read(0, headBytes)
  const format = formatOf(head)
  const tail = await tailOf(source)
  const listed: Range[] = []
  if (format !== undefined)
    await orProblem(format, place, seen, () => lookInto(format, source, place, seen, listed))
  else if (isBrotli(place.name) && source.size > 0)
    seen.need({
      format: 'brotli',
      kind: 'brotli',
      what: 'Brotli (by its name)',
      where: place.where,
    })
  const atEnd = formatOfTail(tail)
  if (atEnd !== undefined && atEnd.name !== format?.name) needOf(atEnd, place, seen)
  // Whatever a file begins with, it may be a zip from behind.
  if (tail.includes(zipEnd) || format?.look === 'zip')
    await orProblem(zipFormat, place, seen, () => zipAt(source, tail, format, place, seen, listed))
}

const zipFormat: Format = { name: 'zip', what: 'zip' }

const needOf = ({ name, what }: Format, { where }: Place, seen: Seen) =>
  seen.need({ format: name, kind: name, what, where })

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

/** `listed`: where the members lie that were looked at. */
async function lookInto(
  format: Format,
  source: Source,
  place: Place,
  seen: Seen,
  listed: Range[],
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
      return gzipAt(source, place, seen)
    case 'tar':
      needOf(format, place, seen)
      return tarAt(new Cursor(chunksOf(source)), source, place, seen, listed)
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
      return lookIntoZlib(source, seen, where, (bytes) =>
        lookAt(bytesOf(bytes), { ...place, depth: depth + 1 }, seen),
      )
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

async function zipAt(
  source: Source,
  tail: Buffer,
  format: Format | undefined,
  place: Place,
  seen: Seen,
  listed: readonly Range[],
): Promise<void> {
  const end = await zipEndIn(source, tail)
  if (end === undefined) {
    if (format?.look === 'zip') throw damaged('its directory is missing')
    return
  }
  const extent = format === undefined ? undefined : await extentOf(format, source, seen)
  const others = extent === undefined ? listed : [...listed, extent]
  await lookIntoZip(source, end, others, seen, place.where, place.depth, async (member) => {
    const { format: inner, unpackedSize: size, source: data } = member
    const into = inside(place, member.name)
    if (size === undefined) await lookAt(data, into, seen)
    else {
      const unpacked = () => inflated(data, 0, seen)
      await lookAtPacked(inner, size, into, seen, () => collect(unpacked(), size), unpacked)
    }
  })
}

async function gzipAt(source: Source, place: Place, seen: Seen): Promise<void> {
  const cursor = new Cursor(gunzip(source, seen, place.where))
  try {
    const format = formatOf(await cursor.peek(headBytes))
    const into = { ...place, depth: place.depth + 1 }
    if (format?.look === 'tar') {
      needOf(format, into, seen)
      await orProblem(format, into, seen, () => tarAt(cursor, undefined, into, seen))
    } else if (format !== undefined) {
      // How much comes is not known before: so little, or as much as there may be.
      const most = seen.free
      const little = await cursor.peek(Math.min(much, most))
      const size = little.length < much ? little.length : most
      await lookAtPacked(format, size, into, seen, async () => {
        const bytes = await cursor.take(size)
        if ((await cursor.peek(1)).length > 0) throw tooMuchToHold(most)
        return bytes
      })
    }
    // To its end: only there a cut, and further members, show.
    for await (const _ of cursor.rest());
  } finally {
    await cursor.close()
  }
}

/** Programs and documents: files first of all. One that is too large to be held is left to the engine. */
const files = new Set<Format['look']>(['exe', 'pdf', 'ole', 'mail'])

/** What has to be unpacked into memory before it can be looked at; only its beginning is known. */
async function lookAtPacked(
  format: Format,
  size: number,
  place: Place,
  seen: Seen,
  unpack: () => Promise<Buffer>,
  stream?: () => AsyncIterable<Buffer>,
): Promise<void> {
  await orProblem(format, place, seen, async () => {
    if (format.look === undefined) return needOf(format, place, seen)
    if (size > seen.limits.heldBytes && files.has(format.look)) return undefined
    if (size > seen.free && format.look === 'tar' && stream !== undefined)
      return tarInStream(format, stream(), size, place, seen)
    return seen.holding(size, async () => lookAt(bytesOf(await unpack()), place, seen))
  })
}

/** A tar that is too large to be held. What else its end says cannot be read from behind then. */
async function tarInStream(
  format: Format,
  chunks: AsyncIterable<Buffer>,
  size: number,
  place: Place,
  seen: Seen,
): Promise<void> {
  await seen.member(place.depth)
  needOf(format, place, seen)
  let tail: Buffer = Buffer.alloc(0)
  let length = 0
  const cursor = new Cursor(
    (async function* () {
      for await (const chunk of chunks) {
        length += chunk.length
        if (length > size) throw damaged('a member is larger than it says')
        tail = Buffer.concat([tail, chunk]).subarray(-tailBytes)
        yield chunk
      }
    })(),
  )
  try {
    await tarAt(cursor, undefined, place, seen)
    for await (const _ of cursor.rest());
  } finally {
    await cursor.close()
  }
  if (length < size) throw damaged('a member is smaller than it says')
  if (tail.includes(zipEnd) || formatOfTail(tail) !== undefined)
    throw tooMuchToHold(seen.limits.heldBytes)
}

/** `source`: the same bytes where they can be read at any place. */
async function tarAt(
  cursor: Cursor,
  source: Source | undefined,
  place: Place,
  seen: Seen,
  listed: Range[] = [],
): Promise<void> {
  await readTar(cursor, seen, place.where, place.depth, async ({ name, format, size, at }) => {
    const into = inside(place, name)
    if (source === undefined)
      await lookAtPacked(
        format,
        size,
        into,
        seen,
        () => cursor.take(size),
        () => cursor.next(size),
      )
    else {
      await lookAt(rangeOf(source, at, size), into, seen)
      listed.push([at, at + size])
    }
  })
}

async function overlayAt(source: Source, place: Place, seen: Seen): Promise<void> {
  const at = await overlayOf(source)
  if (at === undefined) return
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

/** @throws CannotLookError when more comes than was said. */
async function collect(chunks: AsyncIterable<Buffer>, size: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  for await (const chunk of chunks) {
    length += chunk.length
    if (length > size) throw damaged('a member is larger than it says')
    parts.push(chunk)
  }
  if (length < size) throw damaged('a member is smaller than it says')
  return Buffer.concat(parts)
}
