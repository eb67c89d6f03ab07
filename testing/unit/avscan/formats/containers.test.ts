import { expect } from 'chai'
import { deflateSync, gzipSync } from 'node:zlib'
import type { Finding, Judge } from '../../../../services/avscan/engines/engine.ts'
import { Containers } from '../../../../services/avscan/formats/containers.ts'
import { fixtureOf } from '../../../../services/avscan/formats/fixtures.ts'
import { bytesOf } from '../../../../services/avscan/formats/source.ts'
import { withMemoryLimit } from '../../../../services/avscan/formats/wasm-memory.ts'
import { tarOf } from '../../../faults/support/archives.ts'
import { rejection } from '../../../support/rejection.ts'
import { zipOf } from '../../../support/samples.ts'

const never = new AbortController().signal
const info = { engineVersion: '1.4.6', signatureVersion: '1', signatureSet: 'test' } as const
const judges: Judge[] = [{ name: 'clamd', info }]
const opening = (...kinds: string[]) => ({
  unopened: (_: Judge, asked: readonly string[]) =>
    Promise.resolve(new Set(asked.filter((kind) => !kinds.includes(kind)))),
})
const zip = () => zipOf([{ name: 'a.rar', bytes: fixtureOf('rar4') as Buffer }])

const scanning = (answer: (bytes: Buffer) => Finding) => ({
  ...opening('zip:Deflate', 'gzip', 'tar'),
  scan: (_: Judge, bytes: Buffer) => Promise.resolve(answer(bytes)),
})

/** Its members, and its directory. */
const partsOf = (bytes: Buffer, name: string) => {
  const whole = zipOf([{ name, bytes }])
  const directoryAt = whole.readUInt32LE(whole.length - 6)
  return [whole.subarray(0, directoryAt), whole.subarray(directoryAt)] as const
}

/** Its one member is streamed, and its size in the directory covers a second one that only a reader without directory finds. */
function zipHiding(content: Buffer): Buffer {
  const [local, directory] = partsOf(content, 'a.txt')
  const [inner] = partsOf(Buffer.from('bad'), 'evil.com')
  // Checksum and sizes are in a data descriptor behind the data, and not in front of it.
  const descriptor = [Buffer.from('PK\x07\x08'), Buffer.from(local.subarray(14, 26))]
  const hidden = Buffer.concat([...descriptor, inner])
  local.fill(0, 14, 26)
  local.writeUInt16LE(8, 6)
  directory.writeUInt16LE(8, 8)
  directory.writeUInt32LE(directory.readUInt32LE(20) + hidden.length, 20)
  directory.writeUInt32LE(local.length + hidden.length, directory.length - 6)
  return Buffer.concat([local, hidden, directory])
}

const findBad = (bytes: Buffer): Finding =>
  bytes.toString().startsWith('bad')
    ? { status: 'infected', signature: 'Bad' }
    : { status: 'clean' }
const packed = (text: string) => deflateSync(Buffer.from(text))

const inspectWith = (bytes: Buffer, answer = findBad) =>
  new Containers(scanning(answer)).inspect(bytesOf(bytes), 'a', judges, never)

describe('Containers', () => {
  it('has nothing to say about a text, and asks nobody', async () => {
    const containers = new Containers({ unopened: () => Promise.reject(new Error('asked')) })

    expect(
      await containers.inspect(bytesOf(Buffer.from('hello')), 'a', judges, never),
    ).to.deep.equal([])
  })

  it('has nothing to say where everything is opened', async () => {
    const containers = new Containers(opening('zip:Deflate', 'rar4'))

    expect(await containers.inspect(bytesOf(zip()), 'a', judges, never)).to.deep.equal([])
  })

  for (const [name, method] of [
    ['Deflate64', 9],
    ['BZip2', 12],
  ] as const)
    it(`does not believe a zip with ${name}, whatever the engine opens: nobody knows where the data of a member ends`, async () => {
      const bytes = zip()
      bytes.writeUInt16LE(method, 8)
      bytes.writeUInt16LE(method, bytes.readUInt32LE(bytes.length - 6) + 10)
      const containers = new Containers(opening(`zip:${name}`))

      const found = await containers.inspect(bytesOf(bytes), 'a', judges, never)
      expect(found.map((one) => ('reason' in one ? one.reason : 0))).to.deep.equal([105])
    })

  const large = Buffer.alloc(9 * 1024 * 1024, 'a ')
  for (const [what, content] of Object.entries({
    'a short text': Buffer.from('a '.repeat(10)),
    'a text of 3 MiB': large.subarray(0, 3 * 1024 * 1024),
    'a long text': large,
    'a long archive that the engine opens': Buffer.concat([fixtureOf('rar4') as Buffer, large]),
  }))
    it(`says that ${what} in a zip hides another member behind its data (106)`, async () => {
      const engine = { unopened: () => Promise.resolve(new Set<string>()) }
      const bytes = bytesOf(zipHiding(content))

      const found = await new Containers(engine).inspect(bytes, 'a', judges, never)

      expect(found.map((finding) => 'reason' in finding && finding.reason)).to.deep.equal([106])
    })

  it('says what is not opened, where it is, and by whom (105)', async () => {
    const containers = new Containers(opening('zip:Deflate'))

    expect(await containers.inspect(bytesOf(zip()), 'a', judges, never)).to.deep.equal([
      {
        status: 'unscannable',
        reason: 105,
        format: 'rar4',
        detail: 'RAR 4 in the member a.rar: clamd 1.4.6 does not open it',
      },
    ])
  })

  describe('hands the engine what comes out of zlib, which it does not open:', () => {
    for (const [title, wrap] of Object.entries({
      alone: (bytes: Buffer) => bytes,
      'in a zip': (bytes: Buffer) => zipOf([{ name: 'objects/ab/cd', bytes }]),
      'in a tar.gz': (bytes: Buffer) => gzipSync(tarOf([{ name: 'objects/ab/cd', bytes }])),
      'in itself': (bytes: Buffer) => deflateSync(bytes),
    }))
      it(`${title}, and a file as Git keeps it`, async () => {
        expect(await inspectWith(wrap(packed('blob 4\0good')))).to.deep.equal([])
        expect(await inspectWith(wrap(packed('bad')))).to.deep.equal([
          { status: 'infected', signature: 'Bad' },
        ])
        expect(await inspectWith(wrap(packed('blob 3\0bad')))).to.deep.equal([
          { status: 'infected', signature: 'Bad' },
        ])
      })

    it('but not when something stands behind it (105)', async () => {
      const findings = await inspectWith(Buffer.concat([packed('good'), Buffer.from('bad')]))

      expect(findings).to.have.length(1)
      expect(findings[0]).to.include({ reason: 105, format: 'zlib' })
    })

    it('and looks into it', async () => {
      const findings = await inspectWith(deflateSync(zip()))

      expect(findings[0]).to.include({ reason: 105, format: 'rar4' })
    })

    it('says what keeps the engine from judging it', async () => {
      const findings = await inspectWith(packed('good'), () => ({
        status: 'unscannable',
        reason: 107,
        detail: 'encrypted',
      }))

      expect(findings).to.deep.equal([
        { status: 'unscannable', reason: 107, detail: 'what was unpacked: encrypted' },
      ])
    })

    it('lets an engine that does not answer rise: nothing is known then', async () => {
      const error = await rejection(
        inspectWith(packed('good'), () => {
          throw new Error('gone')
        }),
      )

      expect(error.message).to.equal('gone')
    })
  })

  it('is content when one of two engines opens it', async () => {
    const other: Judge = { name: 'other', info }
    const containers = new Containers({
      unopened: ({ name }, kinds) => Promise.resolve(new Set(name === 'other' ? [] : kinds)),
    })

    expect(await containers.inspect(bytesOf(zip()), 'a', [...judges, other], never)).to.deep.equal(
      [],
    )
  })

  it('never calls clean what it could not finish in time (199)', async () => {
    const slow = {
      size: 2_000_000,
      read: async (at: number, length: number) => {
        await new Promise((resolve) => setTimeout(resolve, 5))
        return (fixtureOf('tar') as Buffer).subarray(0, 512).subarray(at % 512, (at % 512) + length)
      },
    }
    const containers = new Containers(opening(), { deadlineMs: 20 })

    const findings = await containers.inspect(slow, 'a', judges, never)

    expect(findings).to.deep.include({
      status: 'unscannable',
      reason: 199,
      format: 'other',
      detail: 'looking inside took longer than 0.02 s',
    })
  })

  it('lets a file that cannot be read rise: nothing is known then', async () => {
    const broken = {
      size: 10,
      read: () => Promise.reject(Object.assign(new Error('EIO'), { syscall: 'read' })),
    }
    const error = await rejection(new Containers(opening()).inspect(broken, 'a', judges, never))

    expect(error.message).to.equal('EIO')
  })

  it('names an encrypted Office document (108)', async () => {
    const entry = Buffer.alloc(128)
    entry.write('EncryptedPackage', 'utf16le')
    entry.writeUInt16LE(34, 64)
    entry[66] = 2
    const ole = Buffer.concat([
      Buffer.from('\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'latin1'),
      Buffer.alloc(1016),
      entry,
      Buffer.alloc(384),
    ])
    const findings = await new Containers(opening('ole')).inspect(bytesOf(ole), 'a', judges, never)

    expect(findings).to.have.length(1)
    expect(findings[0]).to.include({ reason: 108, format: 'ole' })
  })
})

describe('withMemoryLimit', () => {
  it('refuses a module that it does not understand', () => {
    expect(() => withMemoryLimit(Buffer.from('\0asm\x01\0\0\0', 'latin1'))).to.throw(
      /no memory section/,
    )
  })
})
