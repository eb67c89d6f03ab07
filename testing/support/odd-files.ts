// Harmless files that ClamAV answers with a `Heuristics.*` name, made at run time.
import { crc32, deflateSync } from 'node:zlib'
import { zipOf, type ZipMember } from './samples.ts'

/** One line of text, by `xz --check=crc32 --lzma2=dict=64MiB`. */
const smallXz =
  '/Td6WFoAAAFpIt42AgAhARwAAAAQz1jMAQAdbWVldGluZyBtaW51dGVzLCBub3RoaW5nIGVsc2UKAAAAf2ZvwQABMh453Pk3kEKZDQEAAAAAAVla'

const textMembers = (count: number): ZipMember[] =>
  Array.from({ length: count }, (_, index) => ({
    name: `${index}.txt`,
    bytes: Buffer.from(`harmless text number ${index}`),
  }))

export const oddFiles = {
  /** says that it needs a dictionary of 1.5 GiB to unpack, as `xz --lzma2=dict=1536MiB` writes */
  hungryXz: () => {
    const bytes = Buffer.from(smallXz, 'base64')
    const head = 12
    const length = (bytes.readUInt8(head) + 1) * 4
    const filter = bytes.indexOf('\x21\x01', head, 'latin1')
    bytes.writeUInt8(37, filter + 2)
    const sumAt = head + length - 4
    bytes.writeUInt32LE(crc32(bytes.subarray(head, sumAt)), sumAt)
    return bytes
  },
  /** each member says that it reaches into the next one */
  overlappingZip: (members: ZipMember[] = textMembers(9)) => {
    const bytes = zipOf(members)
    const sizeIn = [
      ['PK\x03\x04', 18],
      ['PK\x01\x02', 20],
    ] as const
    for (const [mark, field] of sizeIn)
      for (let at = 0; (at = bytes.indexOf(mark, at, 'latin1')) >= 0; at += 4)
        bytes.writeUInt32LE(bytes.readUInt32LE(at + field) + 8, at + field)
    return bytes
  },
  /** a document whose names are written with #-escapes, as ISO 32000 allows */
  escapedPdf: (content: Buffer = Buffer.from('BT ET')) => {
    const stream = deflateSync(content)
    return Buffer.concat([
      Buffer.from(
        '%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/P#61ges/Kids[3 0 R]/Count 1>>endobj\n' +
          '3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R>>endobj\n' +
          `4 0 obj<</Length ${stream.length}/Filter/Fl#61teDecode>>stream\n`,
      ),
      stream,
      Buffer.from(
        '\nendstream endobj\n5 0 obj<</S/JavaScr#69pt>>endobj\ntrailer<</Size 5/Root 1 0 R>>\n%%EOF\n',
      ),
    ])
  },
  /** numbers that happen to have the checksum which the worm's log has */
  wormlikeNumbers: () => {
    const record = Buffer.alloc(32)
    record.writeUInt32BE(0xfffffff9, 28)
    return Buffer.concat(Array.from({ length: 20 }, () => record))
  },
}
