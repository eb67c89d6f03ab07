import { expect } from 'chai'
import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { fixtureOf } from '../../../../services/avscan/formats/fixtures.ts'
import { look } from '../../../../services/avscan/formats/look.ts'
import { Seen } from '../../../../services/avscan/formats/seen.ts'
import { bytesOf } from '../../../../services/avscan/formats/source.ts'
import { tarOf } from '../../../faults/support/archives.ts'
import { zipOf } from '../../../support/samples.ts'

const fixture = (kind: string) => fixtureOf(kind) as Buffer

async function kindsIn(bytes: Buffer): Promise<string[]> {
  const seen = new Seen(new AbortController().signal)
  await look(bytesOf(bytes), 'a', seen)
  return [...seen.needs.keys()]
}

const displaced = (prefix: Buffer, kind: string) => Buffer.concat([prefix, fixture(kind)])
const gif = Buffer.from('GIF89a\x01\0\x01\0\0\0\0;', 'latin1')
/** With a field of its own in the header. */
const gzipWith = (extra: Buffer) => {
  const bytes = gzipSync('hi')
  bytes[3] = 4
  const size = Buffer.of(extra.length & 255, extra.length >> 8)
  return Buffer.concat([bytes.subarray(0, 10), size, extra, bytes.subarray(10)])
}
const overIso = (start: Buffer) => {
  const iso = Buffer.from(fixture('iso'))
  start.copy(iso)
  return iso
}

describe('two formats in one file:', () => {
  for (const [title, bytes, kind] of [
    ['a PDF behind a picture', displaced(gif, 'pdf:attachment'), 'pdf:displaced'],
    [
      'a PDF behind a program',
      displaced(Buffer.from('MZ'.padEnd(200)), 'pdf:attachment'),
      'pdf:displaced',
    ],
    [
      'a PDF behind a mail',
      displaced(Buffer.from('From: a\n\n'), 'pdf:attachment'),
      'pdf:displaced',
    ],
    ['a 7z behind a picture', displaced(gif, '7z:LZMA'), '7z:displaced'],
    ['a RAR behind a picture', displaced(gif, 'rar5'), 'rar5:displaced'],
    ['an old RAR behind a picture', displaced(gif, 'rar4'), 'rar4:displaced'],
    ['a cabinet behind a text', displaced(Buffer.from('text'), 'cab:MSZIP'), 'cab:displaced'],
    ['a zip in the header of a gzip', gzipWith(fixture('zip:Deflate')), 'zip:displaced'],
    ['a zip behind a gzip', displaced(gzipSync('hi'), 'zip:Deflate'), 'zip:displaced'],
    [
      'a zip behind a tar',
      displaced(tarOf([{ name: 'a', bytes: Buffer.from('a') }]), 'zip:Deflate'),
      'zip:displaced',
    ],
    [
      'a zip behind a song',
      displaced(Buffer.from('ID3\x03\0\0\0\0\0\0'), 'zip:Deflate'),
      'zip:displaced',
    ],
    ['a zip behind a photograph', fixture('zip:behind JPEG'), 'zip:behind JPEG'],
    ['an ISO that begins as a gzip', overIso(gzipSync('hi')), 'iso:besides'],
    ['an ISO that begins as a page', overIso(Buffer.from('<html>')), 'iso:displaced'],
    [
      'an ISO that begins as a tar',
      overIso(tarOf([{ name: 'a', bytes: Buffer.from('a') }])),
      'tar:besides',
    ],
  ] as const)
    it(title, async () => {
      expect(await kindsIn(bytes)).to.include(kind)
    })

  it('a UDF with an ISO in front', async () => {
    const bridge = Buffer.from(fixture('iso'))
    bridge.write('NSR02', 32_769 + 3 * 2048, 'latin1')
    expect(await kindsIn(bridge)).to.include('udf')
  })

  it('and no program that only knows 7z and PDF', async () => {
    const program = Buffer.concat([
      Buffer.from('some text about %PDF-1.4, Rar!\x1a\x07\0 and 7z\xbc\xaf\x27\x1c', 'latin1'),
      Buffer.alloc(100, 'x'),
    ])
    expect((await kindsIn(program)).filter((kind) => kind !== 'pdf')).to.deep.equal([])
  })

  it('and not the last member of a tar, or of a gzip that could not pack it', async () => {
    const zip = zipOf([{ name: 'a', bytes: randomBytes(2_000) }])
    expect(await kindsIn(tarOf([{ name: 'a.zip', bytes: zip }]))).not.to.include('zip:displaced')
    expect(await kindsIn(gzipSync(zip, { level: 0 }))).not.to.include('zip:displaced')
  })
})
