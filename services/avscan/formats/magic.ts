// Which container format some bytes begin with. Pure, and most objects cost it a few comparisons: what it does not
// know is taken for a file without members.
import { inflateSync, constants } from 'node:zlib'

/** As much of the beginning as `formatOf` looks at. */
export const headBytes = 66 * 1024

/** Formats that are looked into for their methods and members. */
export type Looked =
  | 'zip'
  | 'gzip'
  | 'tar'
  | 'bzip2'
  | 'xz'
  | '7z'
  | 'cab'
  | 'ole'
  | 'pdf'
  | 'exe'
  | 'mail'
  | 'lha'
  | 'zlib'

/** A format, and what people call it; `look`: there is more to say than its name. */
export interface Format {
  name: string
  what: string
  look?: Looked
}

type Row = readonly [at: number, magic: string, name: string, what: string, look?: Looked]

/** Bytes as characters. The first row that fits counts. */
const rows: readonly Row[] = [
  [0, 'PK\x03\x04', 'zip', 'zip', 'zip'],
  [0, 'PK\x05\x06', 'zip', 'zip', 'zip'],
  [0, 'PK\x07\x08PK', 'zip', 'zip', 'zip'],
  [0, 'PK00PK', 'zip', 'zip', 'zip'],
  [0, '\x1f\x8b', 'gzip', 'gzip', 'gzip'],
  [0, '7z\xbc\xaf\x27\x1c', '7z', '7z', '7z'],
  [0, 'BZh', 'bzip2', 'bzip2', 'bzip2'],
  [0, '\xfd7zXZ\0', 'xz', 'xz', 'xz'],
  [0, 'Rar!\x1a\x07\x00', 'rar4', 'RAR 4'],
  [0, 'Rar!\x1a\x07\x01\0', 'rar5', 'RAR 5'],
  [0, 'RE~^', 'rar1', 'RAR 1'],
  [0, 'MSCF\0\0\0\0', 'cab', 'cabinet', 'cab'],
  [0, 'ISc(', 'installshield', 'InstallShield cabinet'],
  [0, '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'ole', 'OLE', 'ole'],
  [0, '%PDF-', 'pdf', 'PDF', 'pdf'],
  [0, 'MZ', 'exe', 'program', 'exe'],
  [0, '\x7fELF', 'exe', 'program', 'exe'],
  [2, '-lh', 'lha', 'LHA', 'lha'],
  [2, '-lz', 'lha', 'LHA', 'lha'],
  [0, '\x60\xea', 'arj', 'ARJ'],
  [7, '**ACE**', 'ace', 'ACE'],
  [20, '\xdc\xa7\xc4\xfd', 'zoo', 'ZOO'],
  [0, 'ALZ\x01', 'alz', 'ALZ'],
  [0, 'EGGA', 'egg', 'EGG'],
  [0, 'StuffIt', 'stuffit', 'StuffIt'],
  [0, 'SIT!', 'stuffit', 'StuffIt'],
  [0, '7kSt', 'zpaq', 'ZPAQ'],
  [0, 'zPQ', 'zpaq', 'ZPAQ'],
  [0, '\x28\xb5\x2f\xfd', 'zstd', 'Zstandard'],
  [1, '\x2a\x4d\x18', 'zstd', 'Zstandard'],
  [0, '\x04\x22\x4d\x18', 'lz4', 'LZ4'],
  [0, '\x02\x21\x4c\x18', 'lz4', 'LZ4'],
  [0, '\x89LZO\0\r\n\x1a\n', 'lzop', 'lzop'],
  [0, 'LZIP', 'lzip', 'lzip'],
  [0, 'LRZI', 'lrzip', 'lrzip'],
  [0, 'RZIP', 'rzip', 'rzip'],
  [0, '\xff\x06\0\0sNaPpY', 'snappy', 'Snappy'],
  [0, '\x1f\x9d', 'compress', 'compress (.Z)'],
  [0, '\x1f\xa0', 'compress', 'SCO compress'],
  [0, '\x1f\x1e', 'pack', 'pack (.z)'],
  [0, '!<arch>\ndebian-binary', 'deb', 'Debian package'],
  [0, '!<arch>\n', 'ar', 'ar'],
  [0, '!<thin>\n', 'ar', 'ar'],
  [0, '\xed\xab\xee\xdb', 'rpm', 'RPM package'],
  [0, '070701', 'cpio', 'cpio'],
  [0, '070702', 'cpio', 'cpio'],
  [0, '070707', 'cpio:odc', 'cpio (odc)'],
  [0, '\xc7\x71', 'cpio:bin', 'cpio (binary)'],
  [0, '\x71\xc7', 'cpio:swapped', 'cpio (binary, swapped)'],
  [0, 'xar!', 'xar', 'XAR'],
  [0, 'MSWIM\0\0\0', 'wim', 'WIM image'],
  [0, 'ITSF', 'chm', 'CHM'],
  [0, '\x78\x9f\x3e\x22', 'tnef', 'TNEF (winmail.dat)'],
  [0, '(This file must be converted with BinHex', 'binhex', 'BinHex'],
  [0, 'hsqs', 'squashfs', 'squashfs'],
  [0, 'sqsh', 'squashfs', 'squashfs'],
  [0, '\x45\x3d\xcd\x28', 'cramfs', 'cramfs'],
  [0, '-rom1fs-', 'romfs', 'romfs'],
  [0, '\x31\x18\x10\x06', 'ubifs', 'UBIFS'],
  [0, 'UBI#', 'ubifs', 'UBI'],
  [0, 'XFSB', 'xfs', 'XFS'],
  [32, 'NXSB', 'apfs', 'APFS'],
  [3, 'NTFS    ', 'ntfs', 'NTFS'],
  [3, 'EXFAT   ', 'fat', 'exFAT'],
  [54, 'FAT1', 'fat', 'FAT'],
  [82, 'FAT32', 'fat', 'FAT'],
  [1024, 'H+\0\x04', 'hfs', 'HFS+'],
  [1024, 'HX\0\x05', 'hfs', 'HFS+'],
  [1024, 'BD', 'hfs', 'HFS'],
  [1080, '\x53\xef', 'ext', 'ext2/3/4'],
  [32769, 'CD001', 'iso', 'ISO 9660'],
  [32769, 'BEA01', 'udf', 'UDF'],
  [65600, '_BHRfS_M', 'btrfs', 'Btrfs'],
  [0, 'conectix', 'vhd', 'VHD disk image'],
  [0, 'vhdxfile', 'vhdx', 'VHDX disk image'],
  [0, 'KDMV', 'vmdk', 'VMDK disk image'],
  [0, 'COWD', 'vmdk', 'VMDK disk image'],
  [0, 'QFI\xfb', 'qcow2', 'QCOW disk image'],
  [64, '\x7f\x10\xda\xbe', 'vdi', 'VDI disk image'],
  [0, 'WithoutFreeSpace', 'parallels', 'Parallels disk image'],
  [0, 'WithouFreSpacExt', 'parallels', 'Parallels disk image'],
  [0, 'EVF\x09\x0d\x0a\xff\x00', 'ewf', 'EWF disk image'],
  [512, 'EFI PART', 'disk', 'disk image (GPT)'],
]

/** Their headers are text, or they are checked otherwise. */
const texts = new Set('zip bzip2 pdf exe lha deb ar cpio cpio:odc binhex'.split(' '))

/** Headers hold numbers, so a word with nothing but text behind it begins a text. */
function isText(head: Buffer, at: number): boolean {
  return head.subarray(at, at + 128).every((byte) => byte >= 0x20 || textControls.has(byte))
}

const textControls = new Set([8, 9, 10, 11, 12, 13, 27])

const table = rows.map(([at, magic, name, what, look]) => {
  const format: Format = look === undefined ? { name, what } : { name, what, look }
  const isWord = /^[\x20-\x7e]+$/.test(magic) && !texts.has(name)
  return { at, first: magic.charCodeAt(0), magic: Buffer.from(magic, 'latin1'), format, isWord }
})

/** What two or three bytes at that place do not tell for sure. */
const checks: Record<string, (head: Buffer) => boolean> = {
  gzip: (head) => head[2] === 8,
  // oxlint-disable-next-line no-control-regex
  bzip2: (head) => /^BZh[1-9](?:1AY&SY|\x17rE8P\x90)/.test(head.toString('latin1', 0, 10)),
  lha: (head) => /^-l[hz][0-9dsx]-$/.test(head.toString('latin1', 2, 7)),
  // The size of the basic header, and that of its first part.
  arj: (head) => {
    const size = head.length > 4 ? head.readUInt16LE(2) : 0
    return size > 0 && size <= 2600 && (head[4] ?? 0) >= 30 && (head[4] ?? 0) <= size
  },
  zstd: (head) => head[0] === 0x28 || ((head[0] ?? 0) & 0xf0) === 0x50,
  compress: (head) =>
    ((head[2] ?? 0) & 0x60) === 0 && ((head[2] ?? 0) & 0x1f) >= 9 && ((head[2] ?? 0) & 0x1f) <= 16,
  // The depth of its tree, as gzip takes it.
  pack: (head) => (head[6] ?? 0) >= 1 && (head[6] ?? 0) <= 25,
  'cpio:bin': isOldCpio,
  'cpio:swapped': isOldCpio,
  // The superblock says how many blocks there are, and its state.
  ext: (head) => head.length > 1084 && head.readUInt32LE(1028) > 0 && head.readUInt32LE(1048) <= 6,
  fat: (head) => head[510] === 0x55 && head[511] === 0xaa,
  hfs: (head) => head.length > 1162 && (head[1024] === 0x48 || head.readUInt32BE(1044) % 512 === 0),
}

/** A name has a length. */
function isOldCpio(head: Buffer): boolean {
  return head.length >= 26 && (head[20] ?? 0) + (head[21] ?? 0) > 0
}

/** The format that `head`, the first `headBytes` of something or all of it, begins with. */
export function formatOf(head: Buffer): Format | undefined {
  for (const { at, first, magic, format, isWord } of table)
    if (
      head[at] === first &&
      head.compare(magic, 0, magic.length, at, Math.min(head.length, at + magic.length)) === 0 &&
      (checks[format.name]?.(head) ?? true) &&
      !(isWord && isText(head, at))
    )
      return format
  return weakFormatOf(head)
}

/** What four bytes far from the start tell, though the file begins as something else. */
const further = table.filter(({ at, magic }) => at > 1 && magic.length > 3)
/** Of such a file system the descriptors stand one to a sector, behind those of ISO 9660. */
const sectors = Array.from({ length: 16 }, (_, index) => 32769 + index * 2048)
const pieces = (head: Buffer, at: number, length: number) =>
  head.toString('latin1', at, at + length)

/** Other formats that the same bytes are, besides `first`. */
export function furtherFormatsOf(head: Buffer, first: Format | undefined): Format[] {
  const found = further
    .filter(
      ({ at, magic, format, isWord }) =>
        head.length >= at + magic.length &&
        head.compare(magic, 0, magic.length, at, at + magic.length) === 0 &&
        (checks[format.name]?.(head) ?? true) &&
        !(isWord && isText(head, at)),
    )
    .map(({ format }) => format)
  if (isTar(head)) found.push({ name: 'tar', what: 'tar', look: 'tar' })
  if (isExt(head)) found.push({ name: 'ext', what: 'ext2/3/4' })
  if (sectors.some((at) => /^NSR0[23]$/.test(pieces(head, at, 5))))
    found.push({ name: 'udf', what: 'UDF' })
  if (isPartitioned(head)) found.push({ name: 'disk', what: 'disk image (MBR)' })
  const names = new Set([first?.name])
  return found.filter(({ name }) => !names.has(name) && names.add(name))
}

/** More than its two bytes: it also says how large its blocks are, and its revision. */
function isExt(head: Buffer): boolean {
  if (head.length < 2048 || head.readUInt16LE(1080) !== 0xef53) return false
  const [inodes, blocks, size] = [1024, 1028, 1048].map((at) => head.readUInt32LE(at))
  return inodes !== 0 && blocks !== 0 && (size ?? 7) <= 6 && head.readUInt32LE(1100) <= 1
}

/** Formats without a magic number of their own. */
function weakFormatOf(head: Buffer): Format | undefined {
  if (isTar(head)) return { name: 'tar', what: 'tar', look: 'tar' }
  if (isLzma(head)) return { name: 'lzma', what: 'LZMA (.lzma)' }
  if (isZlib(head)) return { name: 'zlib', what: 'zlib', look: 'zlib' }
  if (isPartitioned(head)) return { name: 'disk', what: 'disk image (MBR)' }
  const text = head.toString('latin1', 0, 200)
  if (/^begin(?:-base64)? [0-7]{3,4} \S/.test(text)) return { name: 'uuencode', what: 'uuencoded' }
  if (isMail(text, head)) return { name: 'mail', what: 'mail', look: 'mail' }
  if (pdfAt(head) >= 0) return { name: 'pdf', what: 'PDF', look: 'pdf' }
  return undefined
}

/** A header's checksum is the sum of its bytes with the checksum itself as blanks; some take the bytes as signed. */
export function isTar(head: Buffer): boolean {
  if (head.length < 512) return false
  const said = /^ *([0-7]{1,7})[ \0]/.exec(head.toString('latin1', 148, 156))?.[1]
  if (said === undefined) return false
  let [sum, high] = [256, 0]
  for (let at = 0; at < 512; at++) {
    const byte = head[at] ?? 0
    if (at >= 148 && at < 156) continue
    sum += byte
    if (byte > 127) high += 256
  }
  const checksum = Number.parseInt(said, 8)
  return sum > 256 && (checksum === sum || checksum === sum - high)
}

/** Properties, a dictionary of 2^n or 2^n + 2^(n-1) bytes, and a size that is unknown or below 256 GiB: as `file` and xz tell it. */
function isLzma(head: Buffer): boolean {
  if (head.length < 14 || (head[0] ?? 255) >= 225 || head[13] !== 0) return false
  const dictionary = head.readUInt32LE(1)
  const size = head.readBigUInt64LE(5)
  // Eight bytes that say so are no chance.
  if (size === 0xffffffffffffffffn) return true
  if (dictionary !== 0xffffffff) {
    const top = 2 ** Math.floor(Math.log2(dictionary))
    if (dictionary < 4096 || (dictionary !== top && dictionary !== top + top / 2)) return false
  }
  return size > 0n && size < 2n ** 38n
}

/** Two bytes tell too little: its first kilobyte must unpack. */
function isZlib(head: Buffer): boolean {
  if (head.length < 8 || head[0] !== 0x78 || head.readUInt16BE(0) % 31 !== 0) return false
  if (((head[1] ?? 0) & 0x20) !== 0) return false
  try {
    const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 2 ** 21 }
    return inflateSync(head.subarray(0, 1024), options).length > 0
  } catch {
    return false
  }
}

/** A boot sector whose partition table makes sense. */
function isPartitioned(head: Buffer): boolean {
  if (head.length <= 512 || head[510] !== 0x55 || head[511] !== 0xaa) return false
  let used = 0
  for (let at = 446; at < 510; at += 16) {
    if (head[at] !== 0 && head[at] !== 0x80) return false
    if (head[at + 4] === 0) continue
    if (head.readUInt32LE(at + 8) === 0 || head.readUInt32LE(at + 12) === 0) return false
    used++
  }
  return used > 0
}

const mailBegins =
  /^(?:From \S+ |(?:Return-Path|Received|From|To|Subject|Date|Message-ID|MIME-Version|Delivered-To|X-[\w-]+|Content-Type): )/i
/** A name of RFC 5322, a header that goes on, or the line of an mbox. */
const headerBegins = /^(?:>?From |[!-9;-~]+[ \t]*:|[ \t]+\S)/
const mimeHeader = /^(?:mime-version|content-(?:type|transfer-encoding|disposition))[ \t]*:/im
const oneHeader = /^(?:>?From .*|[A-Za-z][\w-]*[ \t]*:.*|[ \t].*)$/

/** Any header may be the first; then it is a mail where one says what is in it, or where they have no end here. */
function isMail(start: string, head: Buffer): boolean {
  const text = start.replace(/^(?:\xef\xbb\xbf)?[\r\n]*/, '')
  if (mailBegins.test(text)) return true
  if (!headerBegins.test(text)) return false
  const all = head.toString('latin1')
  if (mimeHeader.test(all)) return true
  if (head.length < headBytes) return false
  const lines = all.split(/\r?\n/)
  // The last one is cut.
  return lines.slice(0, -1).every((line) => oneHeader.test(line))
}

const pdfMagic = Buffer.from('%PDF-', 'latin1')

/** Where a reader of PDF finds its beginning: so far from the start it looks for it. */
export function pdfAt(head: Buffer): number {
  return head.subarray(0, 1024 + pdfMagic.length).indexOf(pdfMagic)
}

const footers: readonly { back: number; magic: Buffer; format: Format }[] = [
  {
    back: 512,
    magic: Buffer.from('koly\0\0\0\x04', 'latin1'),
    format: { name: 'dmg', what: 'Apple disk image' },
  },
  {
    back: 512,
    magic: Buffer.from('conectix', 'latin1'),
    format: { name: 'vhd', what: 'VHD disk image' },
  },
]

/** Formats that only the end tells. */
export function formatOfTail(tail: Buffer): Format | undefined {
  return footers.find(({ back, magic }) => {
    const at = tail.length - back
    return at >= 0 && tail.subarray(at, at + magic.length).equals(magic)
  })?.format
}
