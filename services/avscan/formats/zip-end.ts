// The end of a zip: it is found from behind, and everything else from there.
import { rangeOf, type Source } from './source.ts'

export interface End {
  /** Where the zip begins: offsets count from there. */
  start: number
  /** Behind its comment. */
  stop: number
  /** Of the directory, from `start`. */
  directoryAt: number
  zip64: boolean
}

const endBytes = 22
const locatorBytes = 20
const longestComment = 0xffff
export const tailBytes = longestComment + endBytes + locatorBytes

const magic = (text: string) => Buffer.from(text, 'latin1')
const endMagic = magic('PK\x05\x06')
export const directoryMagic = magic('PK\x01\x02')
const locatorMagic = magic('PK\x06\x07')
const zip64EndMagic = magic('PK\x06\x06')

export const methods = new Map([
  [0, 'Store'],
  [1, 'Shrink'],
  [6, 'Implode'],
  [8, 'Deflate'],
  [9, 'Deflate64'],
  [12, 'BZip2'],
  [14, 'LZMA'],
  [93, 'Zstandard'],
  [95, 'XZ'],
  [98, 'PPMd'],
])

export const localHeader = {
  magic: magic('PK\x03\x04'),
  /** Programs that know zip have the four bytes in them too. Names and versions are whatever they like. */
  isPlausible: (bytes: Buffer): boolean =>
    bytes.length > 30 &&
    methods.has(bytes.readUInt16LE(8)) &&
    (bytes.readUInt16LE(6) & 0xc000) === 0 &&
    bytes.readUInt16LE(26) > 0,
}

/** The last end in `tail`, the last bytes of `source`, that a directory belongs to; undefined when there is none. */
export async function zipEndIn(source: Source, tail: Buffer): Promise<End | undefined> {
  const tailAt = source.size - tail.length
  for (
    let at = tail.lastIndexOf(endMagic);
    at >= 0;
    at = at === 0 ? -1 : tail.lastIndexOf(endMagic, at - 1)
  ) {
    if (at + endBytes > tail.length) continue
    const end = await endAt(source, tail, at, tailAt)
    if (end !== undefined) return end
  }
  return undefined
}

async function endAt(
  source: Source,
  tail: Buffer,
  at: number,
  tailAt: number,
): Promise<End | undefined> {
  const stop = Math.min(source.size, tailAt + at + endBytes + tail.readUInt16LE(at + 20))
  const zip64 =
    at >= locatorBytes && tail.subarray(at - locatorBytes, at).indexOf(locatorMagic) === 0
  let size = tail.readUInt32LE(at + 12)
  let offset = tail.readUInt32LE(at + 16)
  let directoryStop = tailAt + at
  if (zip64) {
    // It stands right before its locator, unless it has fields that nobody uses.
    const bytes = await rangeOf(source, 0, directoryStop - locatorBytes).read(
      directoryStop - locatorBytes - 56,
      56,
    )
    if (bytes.indexOf(zip64EndMagic) !== 0) return undefined
    size = Number(bytes.readBigUInt64LE(40))
    offset = Number(bytes.readBigUInt64LE(48))
    directoryStop -= locatorBytes + 56
  }
  const directory = directoryStop - size
  const start = directory - offset
  if (start < 0 || !Number.isSafeInteger(start)) return undefined
  // Only an empty one has no directory; four bytes of chance have more behind them.
  if (size === 0 && (offset !== 0 || stop !== source.size)) return undefined
  if (size > 0 && (await source.read(directory, 4)).indexOf(directoryMagic) !== 0) return undefined
  return { start, stop, directoryAt: offset, zip64 }
}

/** Where zips may stand that end in `tail`, the last of `size` bytes; their directories need not be in it. */
export function placesOfZips(tail: Buffer, size: number): [from: number, to: number][] {
  const places: [number, number][] = []
  for (let at = tail.indexOf(endMagic); at >= 0; at = tail.indexOf(endMagic, at + 1)) {
    if (at + endBytes > tail.length) break
    const end = size - tail.length + at
    const [directory, offset] = [tail.readUInt32LE(at + 12), tail.readUInt32LE(at + 16)]
    const zip64 =
      at >= locatorBytes && tail.subarray(at - locatorBytes, at).indexOf(locatorMagic) === 0
    // What zip64 says stands elsewhere.
    const start = zip64 ? 0 : end - directory - offset
    if (start >= 0 && (zip64 || directory > 0)) places.push([start, end + endBytes])
  }
  return places
}
