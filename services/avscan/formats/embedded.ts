// Archives that begin in the middle of something else: 7-Zip and the RAR programs look for their beginning so far from the start.
import { crc32 } from 'node:zlib'
import type { Format } from './magic.ts'
import { bytesOf, placesOf, type Source } from './source.ts'

const searchedBytes = 1024 ** 2

interface Sign {
  /** Rare bytes are found faster than letters. */
  needle: Buffer
  /** So many bytes before the needle it begins. */
  back: number
  format: Format
  /** Whether the header makes sense: four bytes of chance are found in any large file. */
  isHeader: (head: Buffer, size: number) => boolean
}

const bytes = (text: string) => Buffer.from(text, 'latin1')

const signs: readonly Sign[] = [
  {
    needle: bytes('\xbc\xaf\x27\x1c'),
    back: 2,
    format: { name: '7z', what: '7z', look: '7z' },
    isHeader: (head) =>
      head.length >= 32 &&
      head.toString('latin1', 0, 2) === '7z' &&
      crc32(head.subarray(12, 32)) === head.readUInt32LE(8),
  },
  {
    needle: bytes('\x1a\x07\x00'),
    back: 4,
    format: { name: 'rar4', what: 'RAR 4' },
    // The marker is followed by the archive's header.
    isHeader: (head) =>
      head.length >= 20 && head.toString('latin1', 0, 4) === 'Rar!' && head[9] === 0x73,
  },
  {
    needle: bytes('\x1a\x07\x01\x00'),
    back: 4,
    format: { name: 'rar5', what: 'RAR 5' },
    // A checksum, and the type of the archive's or the encryption's header behind a size of one or two bytes.
    isHeader: (head) =>
      head.length >= 20 &&
      head.toString('latin1', 0, 4) === 'Rar!' &&
      crc32(head.subarray(12, 13 + (head[12] ?? 0))) === head.readUInt32LE(8),
  },
  {
    needle: bytes('MSCF\0\0\0\0'),
    back: 0,
    format: { name: 'cab', what: 'cabinet', look: 'cab' },
    isHeader: (head, size) =>
      head.length >= 36 &&
      head[25] === 1 &&
      head.readUInt32LE(8) > 36 &&
      head.readUInt32LE(8) <= size &&
      head.readUInt32LE(16) >= 36 &&
      head.readUInt32LE(16) < head.readUInt32LE(8) &&
      head.readUInt16LE(26) > 0 &&
      head.readUInt16LE(28) > 0,
  },
]

export interface Embedded {
  format: Format
  at: number
}

/** The first of each format that begins behind the start of `source`. */
export async function embeddedIn(source: Source, signal: AbortSignal): Promise<Embedded[]> {
  const found: Embedded[] = []
  const searched = await source.read(0, searchedBytes + 16)
  for (const sign of signs) {
    const at = await placeOf(sign, source, searched, signal)
    if (at !== undefined) found.push({ format: sign.format, at })
  }
  return found
}

async function placeOf(
  { needle, back, isHeader }: Sign,
  source: Source,
  searched: Buffer,
  signal: AbortSignal,
): Promise<number | undefined> {
  // Nothing is to be found in most, and they are many.
  if (!searched.includes(needle)) return undefined
  for await (const place of placesOf(bytesOf(searched), needle, signal)) {
    const at = place - back
    if (at > 0 && isHeader(await source.read(at, 64), source.size - at)) return at
  }
  return undefined
}
