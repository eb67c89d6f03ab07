// ClamAV passes a type above that type's own limit without a word. Both sides of each such default must be judged alike, by the real daemon.
import { expect } from 'chai'
import { deflateSync } from 'node:zlib'
import { createClamd } from '../../services/avscan/engines/clamd.ts'
import type { Engine } from '../../services/avscan/engines/engine.ts'
import { countPdfObjects } from '../../services/avscan/formats/pdf-objects.ts'
import { Seen } from '../../services/avscan/formats/seen.ts'
import { bytesOf } from '../../services/avscan/formats/source.ts'
import { silentLog } from '../../services/shared/log.ts'
import { scan } from '../support/engine-contract.ts'
import { noClamd, startClamd, type RealClamd } from '../support/real-clamd.ts'
import { samples, zipOf } from '../support/samples.ts'

const MiB = 1024 ** 2
const hex = (text: string) => Buffer.from(text).toString('hex')

const signatures = {
  'types.ndb': [
    `Test.Html:3:*:${hex('alpha beta gamma')}`,
    `Test.Script:7:*:${hex('delta epsilon zeta')}`,
    `Test.Program:1:EP+0:${hex('entered here')}`,
  ]
    .map((line) => `${line}\n`)
    .join(''),
  'types.ldb':
    `Test.Expression;Engine:81-255,Target:0;0&1;${hex('looks for more')};0/found[0-9]{3}it/\n` +
    `Test.Deep;Engine:81-255,Target:0;0&1;${hex('looks for depth')};0/open(?:a|b)*close/\n`,
}

/** `bytes`, filled up to `size` with what `pad` repeats. */
function padded(size: number, begin: Buffer, pad: string, end = ''): Buffer {
  const bytes = Buffer.alloc(size, pad)
  begin.copy(bytes)
  bytes.write(end, size - end.length)
  return bytes
}

/** A page with `inside`, and text after it. */
const page = (size: number, inside: string) =>
  padded(size, Buffer.from(`<html><body>${inside}`), '<p>lorem ipsum dolor</p>\n', '</body></html>')

const link = `<a href="data:application/octet-stream;base64,${Buffer.concat([samples.eicar(), Buffer.from('\n')]).toString('base64')}">x</a>`

/** A Windows program that does nothing; `entry` are the first bytes it runs. */
function program(entry: string): Buffer {
  const bytes = Buffer.alloc(0x400)
  bytes.write('MZ')
  bytes.writeUInt32LE(0x40, 0x3c)
  bytes.write('PE\0\0', 0x40, 'latin1')
  const coff = 0x44
  bytes.writeUInt16LE(0x14c, coff)
  bytes.writeUInt16LE(1, coff + 2)
  bytes.writeUInt16LE(0xe0, coff + 16)
  bytes.writeUInt16LE(0x102, coff + 18)
  const optional = coff + 20
  bytes.writeUInt16LE(0x10b, optional)
  for (const [at, value] of [
    [16, 0x1000],
    [28, 0x40_0000],
    [32, 0x1000],
    [36, 0x200],
    [56, 0x2000],
    [60, 0x200],
    [92, 16],
  ] as const)
    bytes.writeUInt32LE(value, optional + at)
  bytes.writeUInt16LE(4, optional + 48)
  bytes.writeUInt16LE(3, optional + 68)
  const section = optional + 0xe0
  bytes.write('.text', section)
  for (const [at, value] of [
    [8, 0x200],
    [12, 0x1000],
    [16, 0x200],
    [20, 0x200],
    [36, 0x6000_0020],
  ] as const)
    bytes.writeUInt32LE(value, section + at)
  bytes.write(entry, 0x200)
  return bytes
}

/** A PDF of `count` objects; the last one holds `bytes`, compressed. */
function pdf(count: number, bytes: Buffer): Buffer {
  const last = deflateSync(bytes)
  const fillers = Array.from({ length: count - 2 }, (_, index) => `${index + 2} 0 obj<<>>endobj\n`)
  return Buffer.concat([
    Buffer.from(`%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n${fillers.join('')}`),
    Buffer.from(`${count} 0 obj<</Length ${last.length}/Filter/FlateDecode>>stream\n`),
    last,
    Buffer.from('\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n'),
  ])
}

const zipped = (name: string, bytes: Buffer) => zipOf([{ name, bytes }])

const cases: [title: string, limitMiB: number, make: (size: number) => Buffer, threat: RegExp][] = [
  ['a virus in a link of a page', 40, (size) => page(size, link), /^Eicar/],
  ['the text of a page', 8, (size) => page(size, 'alpha<b>beta</b>gamma'), /^Test\.Html/],
  [
    'a script',
    20,
    (size) => padded(size, Buffer.from('DELTA   Epsilon\n\n\n zeta\n'), 'echo one two three\n'),
    /^Test\.Script/,
  ],
  [
    'a program behind a program',
    40,
    (size) => padded(size, Buffer.concat([program('nothing'), program('entered here')]), '\0'),
    /^Test\.Program/,
  ],
  [
    'what a regular expression finds',
    100,
    (size) => padded(size, Buffer.from('\0looks for more\0found123it'), '\0'),
    /^Test\.Expression/,
  ],
]

describe('limits of clamd by type, real', function () {
  this.timeout(60_000)
  let clamd: RealClamd
  let engine: Engine

  before(function () {
    if (noClamd === undefined) return
    console.log(`      skipped: ${noClamd}`)
    this.skip()
  })

  before(async () => {
    const maxBytes = 110 * MiB
    clamd = await startClamd({ maxObjectBytes: maxBytes, signatures })
    engine = createClamd(
      {
        socket: clamd.socket,
        host: clamd.host,
        port: clamd.port,
        connections: 2,
        maxBytes,
        timeoutMs: 60_000,
        stallMs: 10_000,
        signatureSet: 'test',
        breaker: { failures: 5, openMs: 500, successes: 3 },
      },
      silentLog,
    )
  })
  after(async () => {
    await engine?.close()
    await clamd?.close()
  })

  for (const [title, limitMiB, make, threat] of cases)
    for (const size of [limitMiB - 1, limitMiB + 1])
      it(`finds ${title} at ${size} MiB`, async () => {
        const finding = await scan(engine, make(size * MiB), 262_144)

        expect(finding).to.have.property('status', 'infected')
        expect(finding).to.have.property('signature').that.matches(threat)
      })

  it('finds in a zip what is over the limit of its type', async () => {
    const finding = await scan(engine, zipped('page.html', page(41 * MiB, link)))

    expect(finding)
      .to.have.property('signature')
      .that.matches(/^Eicar/)
  })

  for (const count of [60_000, 70_000])
    it(`finds a virus in object ${count} of a PDF, or says that it was not looked at`, async () => {
      const bytes = pdf(count, samples.eicar())
      const seen = new Seen(new AbortController().signal)
      await countPdfObjects(bytesOf(bytes), seen, '')

      const { status } = await scan(engine, bytes)

      expect(status).to.equal(count <= 65_536 ? 'infected' : 'clean')
      expect(seen.problems.length).to.equal(count <= 65_536 ? 0 : 1)
    })

  for (const length of [1_000, 20_000])
    it(`finds what a regular expression must go ${length} steps deep for`, async () => {
      const finding = await scan(
        engine,
        Buffer.from(`\0looks for depth open${'ab'.repeat(length / 2)}close\0`),
      )

      expect(finding)
        .to.have.property('signature')
        .that.matches(/^Test\.Deep/)
    })
})
