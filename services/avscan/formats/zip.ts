// zip: the methods of its members, and whether the directory at its end tells everything that is in it.
import { constants } from 'node:zlib'
import { inflateAtOnce } from './inflate.ts'
import { fromRandomAccessReaderPromise, RandomAccessReader, type Entry, type ZipFile } from 'yauzl'
import { toError } from '../../shared/errors.ts'
import type { Range } from './extent.ts'
import { formatOf, headBytes, type Format } from './magic.ts'
import { formatReasons, damaged, type Seen } from './seen.ts'
import { bytesOf, chunksOf, placesOf, rangeOf, windowed, type Source } from './source.ts'
import { directoryMagic, localHeader, methods, type End } from './zip-end.ts'

const localBytes = 30
const unknownSize = 0xffffffff
/** So much is unpacked at once, packed or not: streams and their turns take longer than the inflating. */
const small = 2 * 1024 ** 2
/** What `headBytes` of packed zeros unpack to, and more than that. */
const mostAtOnce = 80 * 1024 ** 2
/** A little says of most members what they are; a little can also be a lot of zeros. */
const beginnings = [2048, 16 * 1024, headBytes]

export interface ZipMember {
  name: string
  /** What it begins with. */
  format: Format | undefined
  source: Source
  /** How many bytes it has to be unpacked to; undefined: it is stored as it is. */
  unpackedSize: number | undefined
  /** A reader that never sees the directory goes by the data for its end. */
  streamed?: boolean
}

/** What a zip stands among. */
export interface Among {
  /** The kind of a zip behind what is before it. */
  prefix: string
  /** No part of it, and known. */
  others: readonly Range[]
}

/** Calls `member` for each member. @throws CannotLookError */
export async function lookIntoZip(
  whole: Source,
  end: End,
  among: Among,
  seen: Seen,
  where: string,
  depth: number,
  member: (member: ZipMember) => Promise<void>,
): Promise<void> {
  // What yauzl throws in the midst of an answer would reach nobody.
  const failed = Promise.withResolvers<never>()
  const looking = lookIntoMembers(whole, end, among, seen, where, depth, member, failed.reject)
  await Promise.race([looking, failed.promise])
}

async function lookIntoMembers(
  whole: Source,
  end: End,
  { prefix, others }: Among,
  seen: Seen,
  where: string,
  depth: number,
  member: (member: ZipMember) => Promise<void>,
  failed: (error: unknown) => void,
): Promise<void> {
  const need = (kind: string, what: string) =>
    seen.need({ format: 'zip', kind: `zip:${kind}`, what, where })
  if (end.stop < whole.size) need('trailing', 'zip with data behind it')
  if (end.zip64) need('zip64-end', 'zip64 (its directory)')
  const plain = rangeOf(whole, end.start, end.stop - end.start)
  // Read in turns, the directory and the members would throw each other out of one window.
  const [directory, members] = [windowed(plain), windowed(plain)]
  const source: Source = {
    size: plain.size,
    read: (from, length) => (from < end.directoryAt ? members : directory).read(from, length),
  }
  const zip = await open(source, failed)
  const taken: Taken[] = [
    ...others.map(([from, to]): Taken => [from, to, false]),
    [end.start + end.directoryAt, end.stop, false],
  ]
  let at = end.directoryAt
  let first = at
  for await (const entry of zip.eachEntry()) {
    await seen.member(depth)
    const central = await source.read(at, 46)
    at += 46 + entry.fileNameLength + entry.extraFieldLength + entry.fileCommentLength
    const sizes = [central.readUInt32LE(20), central.readUInt32LE(24), central.readUInt32LE(42)]
    if (sizes.includes(unknownSize)) need('zip64', 'zip64')
    const local = await localOf(zip, entry, need)
    const stop = local.dataAt + entry.compressedSize
    if (stop > end.directoryAt) throw damaged('a member reaches into the directory')
    const streamed = local.described || entry.compressedSize === 0
    taken.push([end.start + entry.relativeOffsetOfLocalHeader, end.start + stop, streamed])
    first = Math.min(first, entry.relativeOffsetOfLocalHeader)
    if (entry.compressedSize === 0 && entry.uncompressedSize === 0) continue
    const name = entry.fileNameRaw.toString('utf8')
    if (entry.isEncrypted()) {
      const detail = `zip${where}: ${name} is encrypted`
      seen.problem({ reason: formatReasons.encryptedArchive, format: 'zip', detail })
      continue
    }
    const method = methods.get(entry.compressionMethod) ?? `method ${entry.compressionMethod}`
    need(method, `zip with method ${method}`)
    const data = rangeOf(source, local.dataAt, entry.compressedSize)
    if (method === 'Store') {
      await member({ name, format: undefined, source: data, unpackedSize: undefined })
    } else if (method === 'Deflate') {
      const head = await beginningOf(data, entry.uncompressedSize)
      seen.unpacked(head.length)
      const format = formatOf(head.subarray(0, headBytes))
      // A small one is unpacked by now.
      if (head.length === entry.uncompressedSize && head.length <= seen.free)
        await seen.holding(head.length, () =>
          member({ name, format, source: bytesOf(head), unpackedSize: undefined }),
        )
      else {
        const unpackedSize = entry.uncompressedSize
        await member({ name, format, source: data, unpackedSize, streamed })
      }
    } else {
      // Where its data ends, and whether all of it can be unpacked, nobody tells: a reader that goes by the data may find
      // another member inside the size that the directory says.
      const detail = `zip${where}: ${name} is packed with ${method}`
      seen.problem({ reason: formatReasons.unsupported, format: 'zip', detail })
    }
  }
  if ((await source.read(at, 4)).equals(directoryMagic))
    throw damaged('its directory has more entries than it says')
  if (end.start + first > 0) need(prefix, 'zip behind other data')
  await findHidden(whole, taken, seen.signal)
}

async function open(source: Source, failed: (error: unknown) => void): Promise<ZipFile> {
  try {
    return await fromRandomAccessReaderPromise(new Reader(source, failed), source.size, {
      autoClose: false,
      decodeStrings: false,
      validateEntrySizes: false,
    })
  } catch (error) {
    throw damaged(toError(error).message)
  }
}

/** ClamAV goes by the local header where the directory says something else. */
async function localOf(
  zip: ZipFile,
  entry: Entry,
  need: (kind: string, what: string) => void,
): Promise<{ dataAt: number; described: boolean }> {
  const local = await zip.readLocalFileHeaderPromise(entry)
  const flags = local.generalPurposeBitFlag
  const described = (flags & 8) !== 0
  if (local.compressionMethod !== entry.compressionMethod)
    throw damaged('a member and the directory disagree about its method')
  if (((flags ^ entry.generalPurposeBitFlag) & 1) !== 0)
    throw damaged('a member and the directory disagree about its encryption')
  const { compressedSize } = local
  if (compressedSize === unknownSize && entry.compressedSize !== unknownSize)
    need(
      described ? 'zip64-described' : 'zip64-local',
      described ? 'zip64, written to a pipe' : 'zip64 (a member)',
    )
  else if (described) need('described', 'zip with data descriptors')
  if (compressedSize !== entry.compressedSize && compressedSize !== unknownSize)
    if (!described || compressedSize !== 0)
      throw damaged('a member and the directory disagree about its size')
  return { dataAt: local.fileDataStart, described }
}

/** The first unpacked bytes or all, of so many that it says it has. */
async function beginningOf(packed: Source, unpackedSize: number): Promise<Buffer> {
  const atOnce = unpackedSize <= small && packed.size <= small
  // One byte more, so that a member larger than it says shows.
  const maxOutputLength = atOnce ? unpackedSize + 1 : mostAtOnce
  for (const length of atOnce ? [packed.size] : beginnings) {
    const bytes = await packed.read(0, length)
    const head = beginning(bytes, maxOutputLength)
    if (atOnce && head.packed < packed.size) throw endsBefore()
    if (
      atOnce ||
      head.unpacked.length >= headBytes ||
      length >= packed.size ||
      length === headBytes
    )
      return head.unpacked
  }
  return Buffer.alloc(0)
}

function beginning(bytes: Buffer, maxOutputLength: number) {
  try {
    return inflateAtOnce(bytes, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength })
  } catch {
    throw damaged('the data of a member is damaged')
  }
}

/** A reader that goes by the data goes on right behind its end, and finds whatever lies there. */
export function endsBefore(): Error {
  return damaged('the data of a member ends before the size that its directory says')
}

/** A place of the file with something in it; `streamed`: a reader that never sees the directory goes by the data for its end. */
type Taken = [from: number, to: number, streamed: boolean]

/** Members that the directory does not name: in front of it, between the others, or behind it. */
async function findHidden(
  whole: Source,
  taken: readonly Taken[],
  signal: AbortSignal,
): Promise<void> {
  let [free, behindStream] = [0, false]
  const ranges = taken.toSorted(([a], [b]) => a - b)
  for (const [from, to, streamed] of [...ranges, [whole.size, whole.size, false] as Taken]) {
    const gap = rangeOf(whole, free, from - free)
    if (behindStream && gap.size > longestDescriptor && !(await isKnownGap(gap)))
      throw damaged('the data of a member goes on behind what its directory says')
    // A data descriptor fits between two members, a member does not.
    if (gap.size > localBytes)
      for await (const at of placesOf(gap, localHeader.magic, signal))
        if (localHeader.isPlausible(await gap.read(at, 64)))
          throw damaged('it holds members that its directory does not name')
    if (to >= free) [free, behindStream] = [to, streamed]
  }
}

const longestDescriptor = 24
const apkSigned = Buffer.from('APK Sig Block 42')

/** The signatures of an Android package, or zeros that fill up to a page. */
async function isKnownGap(gap: Source): Promise<boolean> {
  const end = await gap.read(gap.size - apkSigned.length, apkSigned.length)
  if (end.equals(apkSigned)) return true
  for await (const chunk of chunksOf(gap, longestDescriptor))
    if (chunk.some((byte) => byte !== 0)) return false
  return true
}

class Reader extends RandomAccessReader {
  readonly #source: Source
  readonly #failed: (error: unknown) => void

  constructor(source: Source, failed: (error: unknown) => void) {
    super()
    this.#source = source
    this.#failed = failed
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    const use = (bytes: Buffer) => {
      bytes.copy(buffer, offset)
      callback(bytes.length < length ? new Error('it is cut') : null)
    }
    Promise.resolve(this.#source.read(position, length)).then(use, callback).catch(this.#failed)
  }
}
