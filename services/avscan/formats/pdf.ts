// PDF: how many objects it has, and the files attached to it.
import { setImmediate } from 'node:timers/promises'
import { formatOf, headBytes } from './magic.ts'
import { chainsIn, undo } from './pdf-filters.ts'
import { countPdfObjects } from './pdf-objects.ts'
import type { Seen } from './seen.ts'
import { placesOf, rangeOf, type Source } from './source.ts'

const word = Buffer.from('stream')
/** A dictionary is short, or it may be so long. */
const dictionaries = [4 * 1024, 256 * 1024]
/** Two or three bytes of an image can be like these by chance. */
const weak = new Set(
  'lzma zlib compress pack arj lha cpio ext hfs fat disk exe uuencode iso udf vdi'.split(' '),
)

interface Stream {
  /** With its names spelt out. */
  dictionary: string
  isAttachment: boolean
  data: Source
}

/** Calls `attachment` with each file that is attached or could be; it says whether anything known was in it. @throws CannotLookError */
export async function lookIntoPdf(
  source: Source,
  seen: Seen,
  where: string,
  depth: number,
  attachment: (bytes: Buffer) => Promise<boolean>,
): Promise<void> {
  await countPdfObjects(source, seen, where)
  let unpacked = 0
  for await (const { dictionary, isAttachment, data } of streamsOf(source, seen)) {
    if (isAttachment) {
      await seen.member(depth)
      // ClamAV 1.4 loses what follows such a string in an inner dictionary, and with it how the file is packed.
      const [kind, what] = /[^<]<[\dA-Fa-f\s]*>(?!>>)/.test(dictionary)
        ? ['pdf:attachment-checksum', 'PDF with an attached file and its checksum']
        : ['pdf:attachment', 'PDF with an attached file']
      seen.need({ format: 'pdf', kind, what, where })
    }
    // Each may be as long as the whole file.
    await setImmediate()
    if (data.size > seen.limits.heldBytes) continue
    // No type need be said of an attached file, so that any stream may be one. Of pages and pictures a part has to do.
    const isWhole = isAttachment || (unpacked < seen.limits.unpackedBytes && !isPicture(dictionary))
    for (const chain of chainsIn(dictionary).slice(0, mostChains)) {
      const stream: Stream = { dictionary, isAttachment, data }
      const bytes = await unpackedOf(stream, chain, isWhole, seen, where)
      unpacked += bytes?.length ?? 0
      if (bytes === undefined || (!isAttachment && !mayHold(bytes))) continue
      const whole = isWhole ? bytes : await unpackedOf(stream, chain, true, seen, where)
      if (whole === undefined) continue
      if (await seen.holding(whole.length, () => attachment(whole)))
        seen.need({
          format: 'pdf',
          kind: 'pdf:attachment',
          what: 'PDF with an attached file',
          where,
        })
    }
  }
}

/** A dictionary that says it twice is read by its first or its last. */
const mostChains = 4

/** Undefined where it cannot be. @throws CannotLookError where it is damaged, and an attachment. */
async function unpackedOf(
  { data, dictionary, isAttachment }: Stream,
  chain: readonly string[],
  isWhole: boolean,
  seen: Seen,
  where: string,
): Promise<Buffer | undefined> {
  const packed = await data.read(0, isWhole ? data.size : headBytes)
  const most = isWhole ? Math.max(1, seen.free) : mostOfHead
  const { bytes, filter } = undo(packed, chain, dictionary, most, isAttachment)
  if (filter !== undefined && isAttachment)
    seen.need({
      format: 'pdf',
      kind: `pdf:${filter}`,
      what: `PDF with an attached file and the filter ${filter}`,
      where,
    })
  if (bytes !== undefined && isAttachment) seen.unpacked(bytes.length)
  return bytes
}

/** More than `headBytes` of packed zeros unpack to. */
const mostOfHead = 80 * 1024 ** 2
const isPicture = (dictionary: string) => /\/Subtype\s*\/Image\b/.test(dictionary)
const zipEnd = Buffer.from('PK\x05\x06', 'latin1')

function mayHold(bytes: Buffer): boolean {
  const format = formatOf(bytes.subarray(0, headBytes))
  return (format !== undefined && !weak.has(format.name)) || bytes.includes(zipEnd)
}

async function* streamsOf(source: Source, seen: Seen): AsyncGenerator<Stream> {
  let behind = 0
  let open: { dictionary: string; from: number } | undefined
  for await (const at of placesOf(source, word, seen.signal)) {
    if (at < behind) continue
    const around = (await source.read(Math.max(0, at - 3), 64)).toString('latin1')
    const isEnd = at >= 3 && around.startsWith('end')
    const text = around.slice(Math.min(3, at))
    if (open === undefined) {
      const begin = /^stream[ \t]*\r?\n?/.exec(text)
      if (isEnd || begin === null || begin[0] === 'stream') continue
      const from = at + begin[0].length
      const dictionary = await dictionaryAt(source, at)
      const length = /\/Length\s+(\d+)\s*(?!\d*\s+\d+\s+R)[/>]/.exec(dictionary)?.[1]
      const to = from + Number(length)
      if (length !== undefined && (await endsAt(source, to))) {
        behind = to + 3
        yield streamOf(dictionary, rangeOf(source, from, to - from))
      } else open = { dictionary, from }
    } else if (isEnd && /^stream\s*endobj/.test(text)) {
      yield streamOf(open.dictionary, rangeOf(source, open.from, at - 3 - open.from))
      open = undefined
    }
  }
  if (open !== undefined) yield streamOf(open.dictionary, rangeOf(source, open.from, source.size))
}

async function endsAt(source: Source, at: number): Promise<boolean> {
  return /^\s*endstream/.test((await source.read(at, 16)).toString('latin1'))
}

function streamOf(dictionary: string, data: Source): Stream {
  return { dictionary, isAttachment: /\/EmbeddedFile\b/.test(dictionary), data }
}

/** What stands before `at`, back to where its object begins. */
async function dictionaryAt(source: Source, at: number): Promise<string> {
  let text = ''
  for (const length of dictionaries) {
    const from = Math.max(0, at - length)
    text = (await source.read(from, at - from)).toString('latin1')
    const begin = text.search(/\bobj\b(?![\s\S]*\bobj\b)/)
    if (begin < 0) continue
    text = text.slice(begin)
    break
  }
  return text.replaceAll(/#([\dA-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}
