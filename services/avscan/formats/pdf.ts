// PDF: how many objects it has, and the files attached to it.
import { setImmediate } from 'node:timers/promises'
import { constants, inflateSync } from 'node:zlib'
import { formatOf, headBytes } from './magic.ts'
import { countPdfObjects } from './pdf-objects.ts'
import { damaged, type Seen } from './seen.ts'
import { placesOf, rangeOf, type Source } from './source.ts'

const attached = Buffer.from('/EmbeddedFile')
const around = 2048

/** Calls `attachment` with each attached file that begins with a format we know. @throws CannotLookError */
export async function lookIntoPdf(
  source: Source,
  seen: Seen,
  where: string,
  depth: number,
  attachment: (bytes: Buffer) => Promise<void>,
): Promise<void> {
  await countPdfObjects(source, seen, where)
  for await (const at of placesOf(source, attached, seen.signal)) {
    const from = Math.max(0, at - around)
    const text = (await source.read(from, at - from + around)).toString('latin1')
    const place = at - from
    // `/EmbeddedFiles` is the list of them, and says nothing of how they are packed.
    if (/^[A-Za-z]/.test(text.slice(place + '/EmbeddedFile'.length))) continue
    await seen.member(depth)
    const begin = text.lastIndexOf(' obj', place)
    const stream = /stream\r?\n/.exec(text.slice(place))
    const end = stream === null ? text.length : place + stream.index
    const dictionary = text.slice(begin < 0 ? 0 : begin, end)
    // ClamAV 1.4 loses what follows such a string in an inner dictionary, and with it how the file is packed.
    const [kind, what] = /[^<]<[\dA-Fa-f\s]*>(?!>>)/.test(dictionary)
      ? ['pdf:attachment-checksum', 'PDF with an attached file and its checksum']
      : ['pdf:attachment', 'PDF with an attached file']
    seen.need({ format: 'pdf', kind, what, where })
    if (stream === null) continue
    // Each may be as long as the whole file.
    await setImmediate()
    const data = await streamAt(source, from + end + stream[0].length, seen)
    const unpack = unpackerOf(dictionary)
    if (unpack === undefined || data.size > seen.limits.heldBytes) continue
    const head = unpack(await data.read(0, headBytes), mostOfHead)
    seen.unpacked(head.length)
    if (formatOf(head.subarray(0, headBytes)) === undefined) continue
    const bytes = unpack(await data.read(0, data.size), Math.max(1, seen.free))
    seen.unpacked(bytes.length)
    await seen.holding(bytes.length, () => attachment(bytes))
  }
}

const endMark = Buffer.from('endstream')
/** More than `headBytes` of packed zeros unpack to. */
const mostOfHead = 80 * 1024 ** 2

/** From `at` to the end of the stream, or of the file. */
async function streamAt(source: Source, at: number, seen: Seen): Promise<Source> {
  for await (const end of placesOf(source, endMark, seen.signal, at))
    return rangeOf(source, at, end - at)
  return rangeOf(source, at, source.size - at)
}

/** Undefined where it is packed in another way than plainly deflated. */
function unpackerOf(dictionary: string): ((bytes: Buffer, most: number) => Buffer) | undefined {
  const [filter, ...more] = [...dictionary.matchAll(/\/(\w+Decode|Fl|Crypt)\b/g)].map(
    ([, name]) => name,
  )
  if (filter === undefined) return (bytes) => bytes
  if (more.length > 0 || (filter !== 'FlateDecode' && filter !== 'Fl')) return undefined
  return (bytes, maxOutputLength) => {
    try {
      return inflateSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength })
    } catch {
      throw damaged('an attached file cannot be unpacked')
    }
  }
}
