// The bench's files: generated from a fixed seed, all different, and the same on every machine.
import { createCipheriv, createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32, deflateSync } from 'node:zlib'
import { zipOf } from '../../services/cli/zip.ts'

export type CorpusName = 'S' | 'MIX' | 'L'

export interface Corpus {
  name: CorpusName
  /** On tmpfs, for the engine's own client. */
  folder: string
  files: Buffer[]
  bytes: number
}

const seed = 'bucket-av-scanner bench 1'

/** An endless stream of bytes that depends on the seed alone; a gigabyte takes a second. */
export class SeededBytes {
  readonly #cipher
  #left = Buffer.alloc(0)

  constructor(name: string) {
    const key = createHash('sha256').update(`${seed} ${name}`).digest()
    this.#cipher = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16, 32))
  }

  take(count: number): Buffer {
    while (this.#left.length < count)
      this.#left = Buffer.concat([
        this.#left,
        this.#cipher.update(Buffer.alloc(Math.max(count, 65_536))),
      ])
    const taken = this.#left.subarray(0, count)
    this.#left = this.#left.subarray(count)
    return taken
  }

  /** Below `limit`. */
  number(limit: number): number {
    return this.take(4).readUInt32LE() % limit
  }
}

const words = (
  'account address amount balance branch cargo city client code contract cost country customer date delivery department ' +
  'discount email employee entry factory field file first group height house invoice item label language last letter level ' +
  'line list market material member message month name network number office order page parcel payment person phone place ' +
  'plan point price product project quality quantity rate record region report result room route sample section series ' +
  'service signal size source stage state station status stock street subject supply system table tax term test title total ' +
  'trade type unit update user value version volume warehouse week weight window work year zone'
).split(' ')

function sentence(random: SeededBytes, bytes: number): string {
  const parts: string[] = []
  for (let length = 0; length < bytes;) {
    const word = words[random.number(words.length)] as string
    const part = random.number(7) === 0 ? `${word} ${random.number(1e9)}` : word
    parts.push(part)
    length += part.length + 1
  }
  return parts.join(' ').slice(0, bytes)
}

/** 1–50 KB, 12.5 KB on average. */
function textSize(random: SeededBytes): number {
  return Math.round(1000 * 50 ** ((random.number(1e6) / 1e6) ** 0.78))
}

function small(random: SeededBytes): Buffer {
  const size = textSize(random)
  const rows = () => sentence(random, size).split(' ')
  switch (random.number(3)) {
    case 0:
      return Buffer.from(sentence(random, size))
    case 1:
      return Buffer.from(
        rows()
          .join(',')
          .replaceAll(/((?:[^,]*,){8})/g, '$1\n'),
      )
    default: {
      const items = rows().map((word, index) => `{"id":${index},"${word}":"${word}"}`)
      return Buffer.from(`[${items.join(',\n')}]`.slice(0, size))
    }
  }
}

const chunk = (type: string, data: Buffer) => {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  sum.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, sum])
}

function png(random: SeededBytes, width: number, height: number): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 2, 0, 0, 0], 8)
  const lines: Buffer[] = []
  for (let y = 0; y < height; y++) {
    const line = Buffer.from(random.take(width * 3 + 1)).map(
      (byte, x) => (byte & 31) + ((x + y) & 127),
    )
    line[0] = 0
    lines.push(Buffer.from(line))
  }
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.concat(lines))),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

function pdf(random: SeededBytes, bytes: number): Buffer {
  const objects = ['<< /Type /Catalog /Pages 2 0 R >>', '<< /Type /Pages /Kids [] /Count 0 >>']
  const parts = [Buffer.from('%PDF-1.7\n')]
  for (let length = 0, index = 3; length < bytes; index++) {
    const stream = deflateSync(Buffer.from(`BT (${sentence(random, 40_000)}) Tj ET`))
    const head = `${index} 0 obj\n<< /Length ${stream.length} /Filter /FlateDecode >>\nstream\n`
    parts.push(Buffer.from(head), stream, Buffer.from('\nendstream\nendobj\n'))
    length += stream.length
  }
  parts.push(Buffer.from(objects.map((text, at) => `${at + 1} 0 obj\n${text}\nendobj\n`).join('')))
  parts.push(Buffer.from('trailer\n<< /Root 1 0 R >>\n%%EOF\n'))
  return Buffer.concat(parts)
}

/** A program's header and as many bytes that look like its code. */
function elf(random: SeededBytes, bytes: number): Buffer {
  const header = Buffer.alloc(64)
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  header.writeUInt16LE(2, 16)
  header.writeUInt16LE(62, 18)
  header.writeUInt32LE(1, 20)
  header.writeUInt16LE(64, 52)
  const code = Buffer.from(random.take(bytes)).map((byte, at) => (at & 3 ? byte & 0x7f : 0x48))
  return Buffer.concat([header, code])
}

const xml = (text: string) =>
  `<?xml version="1.0"?><w:document><w:body><w:p><w:r><w:t>${text}</w:t></w:r></w:p></w:body></w:document>`

/** 200 KB to 1 MB before packing. */
function document(random: SeededBytes, serial: number): Buffer {
  const bytes = 200_000 + random.number(800_000)
  switch (serial % 5) {
    case 0:
      return zipOf('word/document.xml', Buffer.from(xml(sentence(random, bytes * 2))))
    case 1:
      return pdf(random, bytes)
    case 2:
      return png(random, 400, 300 + random.number(300))
    case 3:
      return zipOf('data.csv', Buffer.from(sentence(random, bytes * 2)))
    default:
      return elf(random, bytes)
  }
}

const makers: Record<CorpusName, (random: SeededBytes, index: number) => Buffer> = {
  S: small,
  // 15 of 100 are documents, evenly spread.
  MIX: (random, index) =>
    (index * 3) % 20 < 3 ? document(random, Math.floor((index * 3) / 20)) : small(random),
  L: (random) => Buffer.from(random.take(100_000_000)),
}

/** `count` files in memory and below `folder`. */
export function makeCorpus(name: CorpusName, count: number, folder: string): Corpus {
  const random = new SeededBytes(name)
  const own = join(folder, name)
  mkdirSync(own, { recursive: true })
  const files = Array.from({ length: count }, (_, index) => makers[name](random, index))
  for (const [index, file] of files.entries()) writeFileSync(join(own, `${index}`), file)
  return { name, folder: own, files, bytes: files.reduce((sum, file) => sum + file.length, 0) }
}
