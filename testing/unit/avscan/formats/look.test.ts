import { expect } from 'chai'
import { randomBytes, randomInt } from 'node:crypto'
import { deflateSync, gzipSync } from 'node:zlib'
import { fixtureKinds, fixtureOf } from '../../../../services/avscan/formats/fixtures.ts'
import { look } from '../../../../services/avscan/formats/look.ts'
import { defaultLimits, Seen, type Limits } from '../../../../services/avscan/formats/seen.ts'
import { bytesOf } from '../../../../services/avscan/formats/source.ts'
import { tarOf } from '../../../faults/support/archives.ts'
import { zipOf } from '../../../support/samples.ts'

const never = new AbortController().signal
const fixture = (kind: string) => fixtureOf(kind) as Buffer

async function seenIn(bytes: Buffer, limits: Partial<Limits> = {}, name = 'a'): Promise<Seen> {
  const seen = new Seen(never, { ...defaultLimits, ...limits })
  await look(bytesOf(bytes), name, seen)
  return seen
}

const hex = (value: number) => value.toString(16).padStart(8, '0')
const kindsIn = async (bytes: Buffer, name?: string) => [
  ...(await seenIn(bytes, {}, name)).needs.keys(),
]
const reasonsIn = async (bytes: Buffer, limits?: Partial<Limits>) =>
  (await seenIn(bytes, limits)).problems.map(({ reason }) => reason)

const mailOf = (bytes: Buffer) =>
  [
    'From a@example.org Thu Nov 26 00:00:00 2026',
    'Content-Type: multipart/mixed; boundary=B',
    '',
    '--B',
    'Content-Type: application/octet-stream; name=a',
    'Content-Transfer-Encoding: base64',
    '',
    bytes.toString('base64').replaceAll(/.{76}/g, '$&\n'),
    '--B--',
    '',
    '',
  ].join('\n')

const tarWith = (bytes: Buffer) =>
  tarOf([
    { name: 'big.txt', bytes: Buffer.alloc(300_000) },
    { name: 'a.rar', bytes },
    { name: 'last.txt', bytes: Buffer.alloc(70_000) },
  ])

const pdfOf = (dictionary: string, stream: Buffer) =>
  Buffer.concat([
    Buffer.from(`%PDF-1.4\n1 0 obj\n<<${dictionary}/Length ${stream.length}>>\nstream\n`),
    stream,
    Buffer.from('\nendstream\nendobj\n'),
  ])

/** As the predictor of PNG that takes nothing away leaves them. */
function rows(bytes: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; at += 4) parts.push(Buffer.of(0), bytes.subarray(at, at + 4))
  return Buffer.concat(parts)
}

function ascii85(bytes: Buffer): string {
  const padded = Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
  let text = ''
  for (let at = 0; at < padded.length; at += 4) {
    let group = ''
    for (let [left, count] = [padded.readUInt32BE(at), 0]; count < 5; count++) {
      group = String.fromCharCode(33 + (left % 85)) + group
      left = Math.floor(left / 85)
    }
    text += group
  }
  return `${text}~>`
}

/** What a zip has before its directory. */
const local = (name: string, version = 20) => {
  const header = Buffer.from(zipOf([{ name, bytes: Buffer.from('hello') }]))
  header.writeUInt16LE(version, 4)
  return header.subarray(0, header.indexOf('PK\x01\x02', 0, 'latin1'))
}

describe('look', () => {
  // Otherwise a fixture would answer another question than the one that is asked.
  describe('sees in the fixture of', () => {
    for (const kind of fixtureKinds())
      it(`${kind} what it stands for, and nothing wrong`, async () => {
        const seen = await seenIn(fixture(kind), {}, kind === 'brotli' ? 'a.br' : 'a')

        expect([...seen.needs.keys()]).to.include(kind)
        // Whatever the engine opens: where the data of such a member ends nobody else knows.
        const packed = /^zip:(?:BZip2|Deflate64|LZMA|PPMd)$/.test(kind)
        expect(seen.problems.map(({ reason }) => reason)).to.deep.equal(packed ? [105] : [])
      }).timeout(20_000)
  })

  describe('sees every filter of an xz', () => {
    const plain = fixture('xz')
    const arm = fixture('xz:ARM64')
    for (const [title, bytes] of [
      ['in a later stream', [plain, arm]],
      ['in the first of several', [arm, plain]],
      ['behind padding', [plain, Buffer.alloc(16), arm, Buffer.alloc(8)]],
    ] as const)
      it(title, async () => {
        expect(await kindsIn(Buffer.concat(bytes))).to.include.members(['xz', 'xz:ARM64'])
      })

    for (const [title, bytes] of [
      ['junk between two streams', [plain, Buffer.from('junkjunk'), arm]],
      ['more zeros than anybody writes', [plain, Buffer.alloc(100_000)]],
      ['a footer that names a longer index', [plain.subarray(0, 12), plain.subarray(-12)]],
    ] as const)
      it(`and that it is damaged (106) by ${title}`, async () => {
        expect(await reasonsIn(Buffer.concat(bytes))).to.deep.equal([106])
      })
  })

  it('sees nothing in a text', async () => {
    expect(await kindsIn(Buffer.from('hello'))).to.deep.equal([])
  })

  const hidden = fixture('rar5')
  describe('walks into', () => {
    it('a zip, stored or deflated', async () => {
      expect(await kindsIn(zipOf([{ name: 'a.rar', bytes: hidden }]))).to.include('rar5')
      expect(
        await kindsIn(zipOf([{ name: 'a.zip', bytes: zipOf([{ name: 'a.rar', bytes: hidden }]) }])),
      ).to.include('rar5')
    })

    it('a tar, and a tar in a gzip', async () => {
      const tar = tarOf([
        { name: 'big.txt', bytes: Buffer.alloc(700_000, 'x') },
        { name: 'a.rar', bytes: hidden },
      ])

      expect(await kindsIn(tar)).to.include('rar5')
      expect(await kindsIn(gzipSync(tar))).to.include('rar5')
    })

    it('the second member of a gzip, where a tar goes on', async () => {
      const tar = tarOf([
        { name: 'a.txt', bytes: Buffer.alloc(600) },
        { name: 'a.rar', bytes: hidden },
      ])
      const cut = Buffer.concat([gzipSync(tar.subarray(0, 1200)), gzipSync(tar.subarray(1200))])

      expect(await kindsIn(cut)).to.include.members(['rar5', 'gzip:several'])
    })

    it('members that begin with nothing known, by their end', async () => {
      const bytes = Buffer.concat([Buffer.from('X'), fixture('zip:LZMA')])
      const tar = tarOf([{ name: 'a', bytes }])
      const large = Buffer.concat([Buffer.alloc(5_000_000, 'x'), fixture('zip:LZMA')])

      for (const whole of [zipOf([{ name: 'a', bytes }]), tar, gzipSync(tar), gzipSync(bytes)])
        expect(await kindsIn(whole)).to.include('zip:LZMA')
      for (const whole of [
        zipOf([{ name: 'a', bytes: large }]),
        gzipSync(tarOf([{ name: 'a', bytes: large }])),
        gzipSync(large),
      ])
        expect(await kindsIn(whole)).to.include('zip:LZMA')
    })

    it('members whose name or end says what they are', async () => {
      const dmg = Buffer.alloc(600)
      dmg.write('koly\0\0\0\x04', 88, 'latin1')
      const zip = zipOf([
        { name: 'a.br', bytes: Buffer.from('some text') },
        { name: 'b', bytes: dmg },
      ])

      expect(await kindsIn(zip)).to.include.members(['brotli', 'dmg'])
    })

    it('a file attached to a PDF, with no type or another filter, or far behind its name', async () => {
      const zip = fixture('zip:LZMA')
      const hex = Buffer.from(`${zip.toString('hex')}>`)
      const runs = Buffer.concat(
        Array.from({ length: Math.ceil(zip.length / 100) }, (_, index) => {
          const run = zip.subarray(index * 100, index * 100 + 100)
          return Buffer.concat([Buffer.from([run.length - 1]), run])
        }),
      )
      for (const [dictionary, stream] of [
        ['/Filter/FlateDecode', deflateSync(zip)],
        ['', zip],
        ['/Type/XObject/Filter/FlateDecode', deflateSync(zip)],
        ['/Filter/ASCIIHexDecode', hex],
        ['/X/LZWDecode/Filter[/Crypt/FlateDecode]', deflateSync(zip)],
        ['/Filter/FlateDecode/DecodeParms<</Predictor 12/Columns 4>>', deflateSync(rows(zip))],
        ['/Filter[/ASCII#48exDecode]/Type/EmbeddedFile', hex],
        ['/Filter/RunLengthDecode', runs],
        [`/Filter/FlateDecode/Desc(${'x'.repeat(5_000)})`, deflateSync(zip)],
        ['/Filter[/AHx/Fl]/Type/EmbeddedFile', Buffer.from(deflateSync(zip).toString('hex'))],
      ] as const) {
        const pdf = pdfOf(dictionary, stream)
        expect(await kindsIn(pdf), dictionary).to.include.members(['pdf:attachment', 'zip:LZMA'])
      }
      expect(await kindsIn(pdfOf('/Type/EmbeddedFile/Filter/LZWDecode', zip))).to.include(
        'pdf:LZWDecode',
      )
    })

    it('a file attached to a PDF in ASCII 85', async () => {
      const pdf = pdfOf('/Type/EmbeddedFile/Filter/A85', Buffer.from(ascii85(fixture('zip:LZMA'))))

      expect(await kindsIn(pdf)).to.include('zip:LZMA')
    })

    it('a file attached to a PDF', async () => {
      const stream = deflateSync(fixture('zip:LZMA'))
      const pdf = Buffer.concat([
        Buffer.from('%PDF-1.4\n1 0 obj\n<</Type/EmbeddedFile/Filter/FlateDecode>>\nstream\n'),
        stream,
        Buffer.from('\nendstream\nendobj\n'),
      ])

      expect(await kindsIn(pdf)).to.include.members(['pdf:attachment', 'zip:LZMA'])
    })

    it('what is in each other, where little of it has to be held', async () => {
      const large = randomBytes(5_000_000)
      const inner = zipOf([
        { name: 'noise', bytes: large },
        { name: 'a.rar', bytes: hidden },
      ])
      const outer = zipOf([{ name: 'a.zip.gz', bytes: gzipSync(inner) }])
      const seen = await seenIn(outer)

      expect([...seen.needs.keys()]).to.include('rar5')
      expect(seen.problems).to.deep.equal([])
    })

    it('nothing that is too large to be held, if it is a file first of all', async () => {
      const bytes = Buffer.concat([Buffer.from('%PDF-1.4\n'), Buffer.alloc(200_000)])
      const zip = zipOf([{ name: 'a.pdf', bytes }])

      expect(await reasonsIn(zip, { heldBytes: 100_000 })).to.deep.equal([])
    })

    it('what is glued to a program, and says where something is', async () => {
      const seen = await seenIn(zipOf([{ name: 'setup.exe', bytes: fixture('exe:rar5') }]))

      expect(seen.needs.get('rar5')?.where).to.equal(' in the member setup.exe')
      expect(seen.needs.has('exe:rar5')).to.equal(true)
    })
  })

  describe('calls damaged (106)', () => {
    const zip = zipOf([{ name: 'a.txt', bytes: Buffer.from('hello '.repeat(100)) }])

    for (const [title, bytes] of Object.entries({
      'a zip without its directory': zip.subarray(0, -30),
      'a zip in front of a zip': Buffer.concat([zip, zip]),
      'a tar that is cut': fixture('tar').subarray(0, 1556),
      'a gzip that is cut': gzipSync(Buffer.from('hello '.repeat(100))).subarray(0, 20),
      'an xz that is cut': fixture('xz').subarray(0, -4),
      'a bzip2 that is cut': fixture('bzip2').subarray(0, -12),
    }))
      it(title, async () => {
        expect(await reasonsIn(bytes)).to.include(106)
      })

    for (const [title, hidden] of Object.entries({
      'a tab in its name': local('a\tb'),
      'a long name': local('x'.repeat(5_000)),
      'a strange version': local('a', 0x314),
    }))
      it(`a zip behind a member with ${title}`, async () => {
        expect(await reasonsIn(Buffer.concat([hidden, zip]))).to.deep.equal([106])
      })

    it('a zip whose directory says that a member is empty, and it is not', async () => {
      const bytes = zipOf([{ name: 'a', bytes: Buffer.from('hello '.repeat(100)) }])
      const at = bytes.indexOf('PK\x01\x02', 0, 'latin1')
      const streamed = Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from('PK\x07\x08', 'latin1'),
        bytes.subarray(14, 26),
        bytes.subarray(at),
      ])
      streamed.writeUInt32LE(at + 16, streamed.length - 6)
      for (const place of [0, at + 16 + 2]) {
        streamed.writeUInt16LE(8, place + 6)
        streamed.fill(0, place + 14, place + 26)
      }
      expect(await reasonsIn(streamed)).to.deep.equal([106])
    })

    it('a zip whose directory has more entries than it says', async () => {
      const several = Buffer.from(fixture('zip:Deflate'))
      several.writeUInt16LE(1, several.length - 14)
      several.writeUInt16LE(1, several.length - 12)

      expect(await reasonsIn(several)).to.deep.equal([106])
    })

    it('a tar with a PAX header that is larger than any is', async () => {
      const tar = Buffer.from(fixture('tar:pax-size'))
      const at = tar.indexOf('pax\0', 0, 'latin1')
      tar.write('00010000000\0', at + 124, 'latin1')
      tar.fill(0x20, at + 148, at + 156)
      const sum = tar.subarray(at, at + 512).reduce((all, byte) => all + byte, 0)
      tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1')

      expect(await reasonsIn(tar)).to.deep.equal([106])
    })

    it('a 7z that is cut', async () => {
      expect(await reasonsIn(fixture('7z:LZMA').subarray(0, -5))).to.deep.equal([106])
    }).timeout(20_000)
  })

  it('goes through a log with a gzip member for each line in a moment', async () => {
    const line = gzipSync(Buffer.from('GET / HTTP/1.1 200\n'))
    const before = process.cpuUsage()
    const seen = await seenIn(Buffer.concat(Array.from({ length: 150_000 }, () => line)))

    expect(seen.problems).to.deep.equal([])
    expect(process.cpuUsage(before).user / 1000).to.be.below(8_000)
  }).timeout(60_000)

  it('sees what is damaged, and what is in it, behind many small gzip members', async () => {
    const empty = gzipSync(Buffer.alloc(0))
    const few = Array.from({ length: 40 }, () => empty)
    const tar = gzipSync(tarOf([{ name: 'a.rar', bytes: fixture('rar5') }]))
    const large = gzipSync(randomBytes(200_000))

    expect(await kindsIn(Buffer.concat([...few, tar]))).to.include('rar5')
    expect(await reasonsIn(Buffer.concat([...few, large, ...few]))).to.deep.equal([])
    for (const last of [empty.subarray(0, -9), empty.subarray(0, -1), large.subarray(0, -9)])
      expect(await reasonsIn(Buffer.concat([...few, last]))).to.deep.equal([106])
  })

  it('goes on behind zeros between the members of a gzip', async () => {
    const bytes = Buffer.concat([gzipSync(''), Buffer.alloc(16), gzipSync(fixture('rar5'))])
    expect(await kindsIn(bytes)).to.include.members(['gzip:zeros', 'rar5'])
  })

  it('goes by the Content-Encoding of an object', async () => {
    for (const [encoding, kinds] of Object.entries({
      br: ['brotli'],
      'gzip, Deflate': ['deflate'],
      zstd: ['zstd'],
      'aws-chunked': [],
      'utf-8': [],
    })) {
      const seen = new Seen(never)
      await look(bytesOf(Buffer.from('text')), 'a', seen, encoding)
      expect([...seen.needs.keys()], encoding).to.deep.equal(kinds)
    }
  })

  it('lets zeros and a signature stand behind a gzip', async () => {
    const bytes = Buffer.concat([
      gzipSync(Buffer.from('hello')),
      Buffer.alloc(512),
      Buffer.from('signed'),
    ])
    const seen = await seenIn(bytes)

    expect([...seen.needs.keys()]).to.deep.equal(['gzip'])
    expect(seen.problems).to.deep.equal([])
  })

  describe('a zip at the end hides no zips that are members of', () => {
    const zips = ['a.zip', 'b.zip'].map((name) => ({
      name,
      bytes: zipOf([{ name: 'a.txt', bytes: Buffer.from('hello '.repeat(9)) }]),
    }))
    const bytes = Buffer.concat(zips.map(({ bytes: zip }) => zip))
    const cpio = Buffer.concat(
      [...zips, { name: 'TRAILER!!!', bytes: Buffer.alloc(0) }].flatMap(({ name, bytes: data }) => {
        const fields = [1, 0o100644, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0]
        const head = Buffer.from(`070701${fields.map(hex).join('')}${name}\0`)
        return [head, Buffer.alloc(-head.length & 3), data, Buffer.alloc(-data.length & 3)]
      }),
    )
    const iso = Buffer.alloc(20 * 2048)
    iso.write('\x01CD001\x01', 16 * 2048, 'latin1')
    iso.writeUInt32LE(20, 16 * 2048 + 80)
    iso.writeUInt16LE(2048, 16 * 2048 + 128)
    bytes.copy(iso, 18 * 2048)
    const ole = Buffer.alloc(512 * 6)
    ole.write('\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'latin1')
    ole.writeUInt16LE(9, 30)
    ole.writeUInt32LE(1, 44)
    ole.writeUInt32LE(0, 76)
    ole.fill(0xff, 512, 1024)
    for (let sector = 0; sector < 5; sector++) ole.writeUInt32LE(0xfffffffe, 512 + 4 * sector)
    bytes.copy(ole, 1024)
    const containers = {
      'a tar': tarOf(zips),
      'a tar in a tar': tarOf([{ name: 'layer.tar', bytes: tarOf(zips) }, ...zips]),
      'a cpio': cpio,
      'an ISO image': iso,
      'an OLE file': ole,
    }
    for (const [title, container] of Object.entries(containers)) {
      it(title, async () => {
        expect(await reasonsIn(container)).to.deep.equal([])
      })

      it(`${title}, but those behind it`, async () => {
        expect(await reasonsIn(Buffer.concat([container, bytes]))).to.deep.equal([106])
      })
    }

    it('a tar, but those that it does not list', async () => {
      const tar = tarOf([{ name: 'noise', bytes: Buffer.concat([Buffer.alloc(99), bytes]) }])

      expect(await reasonsIn(tar)).to.deep.equal([106])
    })
  })

  describe('goes through a tar of more than may be held:', () => {
    const limits = { heldBytes: 100_000 }
    const layer = { name: 'layer.tar', bytes: tarWith(hidden) }
    for (const [title, bytes] of Object.entries({
      'in a tar.gz': gzipSync(tarOf([layer, { name: 'b', bytes: Buffer.from('b') }])),
      'in a tar in a tar.gz': gzipSync(tarOf([{ name: 'a.tar', bytes: tarOf([layer]) }])),
      'in a zip': zipOf([layer]),
    }))
      it(title, async () => {
        const seen = await seenIn(bytes, limits)

        expect(seen.problems).to.deep.equal([])
        expect([...seen.needs.keys()]).to.include.members(['tar', 'rar5'])
      })

    it('and sees a zip behind it (105), but takes no last member for one', async () => {
      const zip = zipOf([{ name: 'a', bytes: Buffer.from('a') }])
      const large = { name: 'large.txt', bytes: Buffer.alloc(300_000) }
      const behind = Buffer.concat([tarOf([large]), zip])
      const last = tarOf([large, { name: 'a.zip', bytes: zip }])

      for (const [inner, isFound] of [
        [behind, true],
        [last, false],
      ] as const)
        for (const bytes of [inner, tarOf([{ name: 'a.tar', bytes: inner }])]) {
          const seen = await seenIn(gzipSync(bytes), limits)

          expect(seen.problems).to.deep.equal([])
          expect(seen.needs.has('zip:displaced')).to.equal(isFound)
        }
    })

    it('but not when it is cut, or of another size than the zip says (106)', async () => {
      const cut = { name: 'a.tar', bytes: layer.bytes.subarray(0, 310_000) }
      const zip = zipOf([layer])
      const central = zip.lastIndexOf('PK\x01\x02')
      zip.writeUInt32LE(layer.bytes.length - 600, central + 24)

      expect(new Set(await reasonsIn(gzipSync(tarOf([cut])), limits))).to.deep.equal(new Set([106]))
      expect(await reasonsIn(zip, limits)).to.include(106)
    })
  })

  describe('goes through a mail of more than may be held:', () => {
    const limits = { heldBytes: 400_000 }
    const small = mailOf(Buffer.alloc(20_000))

    it('a mailbox, and each attachment in it', async () => {
      for (const place of [0, 7, 29]) {
        const mails = Array.from({ length: 30 }, (_, index) =>
          index === place ? mailOf(hidden) : small,
        )
        const seen = await seenIn(Buffer.from(mails.join('')), limits)

        expect(seen.problems).to.deep.equal([])
        expect([...seen.needs.keys()]).to.include('rar5')
      }
    })

    it('a log that begins like a mail', async () => {
      const log = Buffer.from('Date: 2026-11-26 GET / 200\n'.repeat(40_000))

      expect(await reasonsIn(log, limits)).to.deep.equal([])
    })

    it('but no attachment of so much (101)', async () => {
      expect(await reasonsIn(Buffer.from(mailOf(Buffer.alloc(500_000))), limits)).to.deep.equal([
        101,
      ])
    })

    it('but not where an attachment goes on (101)', async () => {
      const body = 'A'.repeat(150_000)
      const one = small.replace(
        '--B--\n',
        `\nFrom a\nTo: b\n\n${body}\n\nFrom a\nTo: b\n\n${body}\n`,
      )

      expect(await reasonsIn(Buffer.from(one), limits)).to.deep.equal([101])
    })
  })

  it('calls an encrypted member of a zip so (107)', async () => {
    const zip = zipOf([{ name: 'a', bytes: Buffer.from('hello'), encrypted: true }])

    expect(await reasonsIn(zip)).to.deep.equal([107])
  })

  describe('gives up, and says so, at', () => {
    it('too many layers (103)', async () => {
      let bytes = zipOf([{ name: 'a', bytes: Buffer.from('hello') }])
      for (let level = 0; level < 12; level++) bytes = zipOf([{ name: 'a.zip', bytes }])

      expect(await reasonsIn(bytes)).to.include(103)
    })

    it('too many members (102)', async () => {
      const zip = zipOf(
        Array.from({ length: 30 }, (_, index) => ({ name: `${index}`, bytes: Buffer.from('x') })),
      )

      expect(await reasonsIn(zip, { members: 20 })).to.deep.equal([102])
    })

    it('too much to unpack (101)', async () => {
      expect(
        await reasonsIn(gzipSync(Buffer.alloc(3_000_000)), { unpackedBytes: 1_000_000 }),
      ).to.deep.equal([101])
    })

    it('too much to hold (101)', async () => {
      const inner = zipOf([{ name: 'zeros', bytes: Buffer.alloc(100) }])
      const large = Buffer.concat([inner, Buffer.alloc(200_000)])

      expect(
        await reasonsIn(zipOf([{ name: 'a.zip', bytes: large }]), { heldBytes: 100_000 }),
      ).to.deep.equal([101])
    })

    it('the signal', async () => {
      const seen = new Seen(AbortSignal.abort(new Error('enough')))
      const error = await look(bytesOf(fixture('tar')), 'a', seen).catch(
        (thrown: Error) => thrown.message,
      )

      expect(error).to.equal('enough')
    })
  })

  describe('lets others go on, and stops in time, with', () => {
    const mail = 'From: a\r\nContent-Transfer-Encoding: base64\r\n'
    for (const [title, bytes] of Object.entries({
      'a bzip2 full of beginnings': Buffer.concat([
        Buffer.from('BZh91AY&SY'),
        Buffer.alloc(6_000_000, '1AY&SY'),
      ]),
      'a zip behind what looks like members': Buffer.concat([
        Buffer.alloc(4_000_000, 'PK\x03\x04', 'latin1'),
        zipOf([{ name: 'a', bytes: Buffer.from('a') }]),
      ]),
      'a mail of headers': Buffer.alloc(4_000_000, mail),
      'a mail of parts without an end': Buffer.alloc(4_000_000, `${mail}\r\n`),
      'a PDF of attachments': Buffer.concat([
        Buffer.from('%PDF-1.4'),
        Buffer.alloc(4_000_000, '/EmbeddedFile '),
      ]),
      'a PDF of streams without an end': Buffer.concat([
        Buffer.from('%PDF-1.4'),
        Buffer.alloc(4_000_000, '/EmbeddedFile >> stream\n'),
      ]),
      'a PDF of streams': Buffer.concat([
        Buffer.from('%PDF-1.4'),
        Buffer.alloc(4_000_000, '1 0 obj<</Filter/A85/Filter/Fl>>stream\nzzz\nendstream endobj\n'),
      ]),
      'a mail of boundaries': Buffer.concat([
        Buffer.from('From: a\nContent-Type: x; boundary=B\n\n'),
        Buffer.alloc(4_000_000, '--B\nContent-Transfer-Encoding: quoted-printable\n\n=50\n'),
      ]),
      'a file of headers of archives': Buffer.concat([
        Buffer.from('x'),
        Buffer.alloc(4_000_000, '7z\xbc\xaf\x27\x1c', 'latin1'),
      ]),
      'a gzip of empty members': Buffer.concat(
        Array.from({ length: 3_000 }, () => gzipSync(Buffer.alloc(0))),
      ),
      'a zip of many members': zipOf(
        Array.from({ length: 5_000 }, (_, index) => ({
          name: `${index}`,
          bytes: Buffer.from('x'),
        })),
      ),
    }))
      it(title, async () => {
        const turns: number[] = [performance.now()]
        const timer = setInterval(() => turns.push(performance.now()), 5)
        const late = AbortSignal.timeout(1_500)
        await look(bytesOf(bytes), 'a', new Seen(late)).catch(() => undefined)
        clearInterval(timer)
        turns.push(performance.now())

        const longest = Math.max(...turns.map((turn, index) => turn - (turns[index - 1] ?? turn)))
        expect(longest).to.be.below(1_000)
        expect((turns.at(-1) ?? 0) - (turns[0] ?? 0)).to.be.below(6_000)
      }).timeout(20_000)
  })

  it('survives every fixture with bytes changed, cut or doubled', async () => {
    const kinds = fixtureKinds().filter((kind) => !kind.includes('7z'))
    for (let round = 0; round < 600; round++) {
      const bytes = Buffer.from(fixture(kinds[round % kinds.length] as string)).subarray(0, 20_000)
      for (let change = randomInt(1, 6); change > 0; change--)
        bytes[randomInt(bytes.length)] = [0, 0xff, 0x7f, randomInt(256)][randomInt(4)] as number
      const cut = randomInt(4) === 0 ? bytes.subarray(0, randomInt(bytes.length)) : bytes
      await look(bytesOf(cut), 'a', new Seen(AbortSignal.timeout(5_000)))
    }
  }).timeout(30_000)
})
