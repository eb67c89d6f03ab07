// gzip: one or more members, each a deflate stream between a header and a trailer.
import type { Range } from './extent.ts'
import { inflateAtOnce, inflated } from './inflate.ts'
import { damaged, type Seen } from './seen.ts'
import { chunksOf, windowed, type Source } from './source.ts'

const trailerBytes = 8
const shortBytes = 8 * 1024

/** What is unpacked, all members in a row; `ended` is told where the data of each stood. @throws CannotLookError where it is damaged or cut. */
export async function* gunzip(
  whole: Source,
  seen: Seen,
  where: string,
  ended?: (data: Range) => void,
): AsyncGenerator<Buffer> {
  const source = windowed(whole)
  let isShort = false
  for (let [at, member] = [0, 1]; ; member++) {
    let start = await dataStart(source, at)
    if (start === undefined) {
      if (member === 1) throw damaged('its header is damaged')
      // Behind the last member some programs fill up with zeros, and others sign.
      start = await dataStart(source, await behindZeros(source, at))
      if (start === undefined) return
      const what = 'gzip with zeros between its members'
      seen.need({ format: 'gzip', kind: 'gzip:zeros', what, where })
    }
    if (member === 2)
      seen.need({
        format: 'gzip',
        kind: 'gzip:several',
        what: 'gzip with several members',
        where,
      })
    await seen.member(0)
    const short = isShort ? await shortAt(source, start) : undefined
    if (short !== undefined) {
      seen.unpacked(short.unpacked.length)
      yield short.unpacked
    }
    const packed: number = short?.packed ?? (yield* inflated(source, start, seen))
    isShort = packed < shortBytes
    at = start + packed + trailerBytes
    if (at > source.size) throw damaged('it is cut')
    ended?.([start, at])
  }
}

/** All of a short member: a log may have one for each line, and a stream for each takes long. Undefined: it is not short. */
async function shortAt(
  source: Source,
  at: number,
): Promise<ReturnType<typeof inflateAtOnce> | undefined> {
  const bytes = await source.read(at, shortBytes)
  try {
    return inflateAtOnce(bytes, { maxOutputLength: 16 * shortBytes })
  } catch {
    return undefined
  }
}

/** Where the zeros that begin at `at` end. */
async function behindZeros(source: Source, at: number): Promise<number> {
  for await (const chunk of chunksOf(source, at)) {
    const end = chunk.findIndex((byte) => byte !== 0)
    if (end >= 0) return at + end
    at += chunk.length
  }
  return at
}

/** Where the data of the member at `at` begins; undefined when none begins there. */
async function dataStart(source: Source, at: number): Promise<number | undefined> {
  let header = await source.read(at, 10)
  if (header.length === 10 && header[3] !== 0) header = await source.read(at, 64 * 1024)
  if (header.length < 10 || header[0] !== 0x1f || header[1] !== 0x8b || header[2] !== 8)
    return undefined
  const flags = header[3] ?? 0
  let end = 10
  if (flags & 4) end += 2 + (header.length >= end + 2 ? header.readUInt16LE(end) : 0)
  for (const text of [8, 16])
    if (flags & text) {
      const zero = header.indexOf(0, end)
      if (zero < 0) throw damaged('its header does not end')
      end = zero + 1
    }
  if (flags & 2) end += 2
  return at + end
}
