// Two formats in one file: an engine goes by one of them, and whoever opens the file perhaps by the other.
import { embeddedIn } from './embedded.ts'
import { furtherFormatsOf, pdfAt, type Format } from './magic.ts'
import type { Need } from './seen.ts'
import { placesOf, type Source } from './source.ts'

type Kind = Omit<Need, 'where'>

/** Their members can stand in them as they are, so that these are found in their bytes as well. */
const holders = new Set(
  (
    'zip tar cpio cpio:odc cpio:bin cpio:swapped ar deb rar1 rar4 rar5 lha arj zoo ace alz egg stuffit xar wim chm cab installshield 7z ole mail tnef iso udf ' +
    'disk fat ntfs ext hfs apfs xfs btrfs squashfs cramfs romfs ubifs vhd vhdx vmdk qcow2 vdi parallels ewf dmg gzip xz lz4 zstd ' +
    'lzop lzip lrzip snappy zlib rpm'
  ).split(' '),
)

export const holdsMembers = (format: Format | undefined) =>
  format !== undefined && holders.has(format.name)

/** What else `source` is, besides `format`, as which it begins. */
export async function furtherIn(
  source: Source,
  head: Buffer,
  format: Format | undefined,
  signal: AbortSignal,
): Promise<Kind[]> {
  const further = furtherFormatsOf(head, format).map((other) => besides(other, format))
  // Its own first sectors are empty, or a disk's.
  if (format?.name === 'iso' && !isEmpty(head.subarray(0, 4096)))
    further.push({ format: 'iso', kind: 'iso:displaced', what: 'ISO 9660 behind other data' })
  const pdf = await displacedPdf(source, head, format, signal)
  if (pdf !== undefined) further.push(pdf)
  // What is found behind a program has kinds of its own.
  if (format?.look === 'exe' || holdsMembers(format)) return further
  for (const { format: other } of await embeddedIn(source, signal))
    further.push({
      format: other.name,
      kind: `${other.name}:displaced`,
      what: `${other.what} behind ${format?.what ?? 'other data'}`,
    })
  return further
}

const isEmpty = (bytes: Buffer) => bytes.every((byte) => byte === 0)

/** An installation image is a disk too, and what is on it as both has been asked. */
function besides(other: Format, first: Format | undefined): Kind {
  const { name, what } = other
  if (first === undefined || isDisk(first) !== isDisk(other))
    return { format: name, kind: `${name}:besides`, what: `${what} in a ${first?.what ?? 'file'}` }
  return { format: name, kind: name, what }
}

const disks = new Set(['iso', 'udf', 'disk', 'fat', 'ntfs', 'ext', 'hfs', 'apfs', 'xfs', 'btrfs'])
const isDisk = ({ name }: Format) => disks.has(name)

const blank = /^(?:\xef\xbb\xbf)?[\s\0]*$/
const object = Buffer.from(' obj')

/** A reader of PDF goes by `%PDF-` wherever it stands at the start, an engine by the first bytes. */
async function displacedPdf(
  source: Source,
  head: Buffer,
  format: Format | undefined,
  signal: AbortSignal,
): Promise<Kind | undefined> {
  const at = pdfAt(head)
  if (at <= 0 || at >= startOfMembers(head, format)) return undefined
  if (!(await hasObjects(source, at, signal))) return undefined
  if (blank.test(head.toString('latin1', 0, at)))
    return { format: 'pdf', kind: 'pdf:blanks', what: 'PDF behind blanks' }
  return { format: 'pdf', kind: 'pdf:displaced', what: 'PDF behind other data' }
}

/** From there on a PDF may be a member. */
function startOfMembers(head: Buffer, format: Format | undefined): number {
  if (format?.name === 'zip' && head.length > 30)
    return 30 + head.readUInt16LE(26) + head.readUInt16LE(28)
  if (format?.name === 'tar') return 512
  // Of the others in the list the first member stands further behind, or would be packed.
  return holdsMembers(format) && !packed.has(format?.name ?? '') ? 0 : Infinity
}

const packed = new Set(['gzip', 'xz', 'iso', 'udf', 'ole', 'mail'])

/** Words of a text are no PDF. */
async function hasObjects(source: Source, from: number, signal: AbortSignal): Promise<boolean> {
  for await (const at of placesOf(source, object, signal, from)) {
    const before = (await source.read(Math.max(0, at - 24), Math.min(24, at))).toString('latin1')
    if (/\d+\s+\d+$/.test(before)) return true
  }
  return false
}

/** Of a zip behind other data, how an engine is asked for it: it goes by what comes first. */
export function prefixOf(head: Buffer, format: Format | undefined, start: number): string {
  const text = head.toString('latin1', 0, Math.min(start, 512))
  if (format?.look === 'exe' || holdsMembers(format)) return 'prefixed'
  if (format === undefined || format.look === 'mail' || format.name === 'pdf')
    if (/^[\t\n\f\r\x20-\x7e]*$/.test(text)) return 'prefixed'
  const picture = pictures.find(([magic]) => text.startsWith(magic))
  return picture === undefined ? 'displaced' : `behind ${picture[1]}`
}

const pictures = [
  ['\xff\xd8\xff', 'JPEG'],
  ['\x89PNG\r\n\x1a\n', 'PNG'],
  ['GIF8', 'GIF'],
  ['Cr24', 'CRX'],
] as const
