// PDF: how many objects it has, and the files attached to it.
import { constants, inflateSync } from 'node:zlib'
import { formatOf } from './magic.ts'
import { countPdfObjects } from './pdf-objects.ts'
import { damaged, type Seen } from './seen.ts'
import { placesOf, type Source } from './source.ts'

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
    const bytes = await streamAt(source, from + end + stream[0].length, dictionary, seen)
    if (bytes !== undefined && formatOf(bytes) !== undefined)
      await seen.holding(bytes.length, () => attachment(bytes))
  }
}

const endMark = Buffer.from('endstream')

/** Its bytes, unpacked where they are deflated; undefined where they are packed in another way. */
async function streamAt(
  source: Source,
  at: number,
  dictionary: string,
  seen: Seen,
): Promise<Buffer | undefined> {
  const filters = [...dictionary.matchAll(/\/(\w+Decode|Fl|Crypt)\b/g)].map(([, name]) => name)
  if (filters.length > 1) return undefined
  let end: number | undefined
  for await (const found of placesOf(source, endMark, seen.signal, at)) {
    end = found
    break
  }
  const size = (end ?? source.size) - at
  if (size > seen.limits.heldBytes) return undefined
  const raw = await source.read(at, size)
  if (filters.length === 0) return raw
  if (filters[0] !== 'FlateDecode' && filters[0] !== 'Fl') return undefined
  try {
    const bytes = inflateSync(raw, {
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: seen.limits.heldBytes,
    })
    seen.unpacked(bytes.length)
    return bytes
  } catch {
    throw damaged('an attached file cannot be unpacked')
  }
}
