// What comes out for containers on the real engine: nothing with EICAR in it is CLEAN, and everyday files still are.
import { expect } from 'chai'
import { open, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync, deflateSync, gunzipSync, gzipSync } from 'node:zlib'
import { createClamd } from '../../services/avscan/engines/clamd.ts'
import type { Engine, Finding } from '../../services/avscan/engines/engine.ts'
import { Abilities } from '../../services/avscan/formats/abilities.ts'
import { Containers } from '../../services/avscan/formats/containers.ts'
import { fixtureKinds, fixtureOf } from '../../services/avscan/formats/fixtures.ts'
import type { Source } from '../../services/avscan/formats/source.ts'
import { silentLog } from '../../services/shared/log.ts'
import { eicar } from '../../services/shared/test-signatures.ts'
import { tarOf } from '../faults/support/archives.ts'
import { noClamd, startClamd, type RealClamd } from '../support/real-clamd.ts'
import { zipOf } from '../support/samples.ts'

const never = new AbortController().signal
const everyday = new URL('../fixtures/everyday/', import.meta.url)

const deflated = () => fixtureOf('zip:Deflate') as Buffer
const harmless = () => zipOf([{ name: 'ok.txt', bytes: Buffer.from('harmless '.repeat(99)) }])

const local = (change: (zip: Buffer, at: number) => void) => {
  const zip = Buffer.from(deflated())
  change(zip, zip.indexOf('PK\x03\x04', 4, 'latin1'))
  return zip
}
const behindGif = (kind: string) =>
  Buffer.concat([Buffer.from('GIF89a\x01\0\x01\0\0\0\0;', 'latin1'), fixtureOf(kind) as Buffer])
const verdictOf = (findings: readonly Finding[]) => {
  const said = findings.map((finding) =>
    finding.status === 'unscannable'
      ? `${finding.reason} ${finding.format ?? finding.detail}`
      : finding.status,
  )
  return said.length === 0 ? 'clean' : [...new Set(said)].join(', ')
}

describe('containers, on the real clamd', function () {
  this.timeout(60_000)
  let clamd: RealClamd
  let engine: Engine
  let containers: Containers
  let folder: string

  before(async function () {
    if (noClamd !== undefined) {
      console.log(`      skipped: ${noClamd}`)
      this.skip()
    }
    clamd = await startClamd()
    folder = await mkdtemp(join(tmpdir(), 'containers-'))
    engine = createClamd(
      {
        socket: clamd.socket,
        host: clamd.host,
        port: clamd.port,
        connections: 2,
        maxBytes: 100 * 1024 ** 2,
        timeoutMs: 20_000,
        stallMs: 10_000,
        signatureSet: 'test',
      },
      silentLog,
    )
    await engine.probe(never)
    containers = new Containers(new Abilities([engine], silentLog))
  })

  after(async () => {
    await engine?.close()
    await clamd?.close()
    if (folder !== undefined) await rm(folder, { recursive: true })
  })

  /** As download.ts and scan.ts do it: the engine first, and we only where it says clean. */
  async function judge(bytes: Buffer, name: string, encoding = ''): Promise<Finding[]> {
    const stream = await engine.open(bytes.length, never)
    await stream.write(bytes)
    const finding = await stream.end()
    if (finding.status !== 'clean') return [finding]
    const path = join(folder, 'object')
    await writeFile(path, bytes)
    await using file = await open(path)
    const source: Source = {
      path,
      size: bytes.length,
      async read(at, length) {
        const buffer = Buffer.alloc(Math.max(0, Math.min(length, bytes.length - at)))
        await file.read(buffer, 0, buffer.length, at)
        return buffer
      },
    }
    return await containers.inspect(source, name, [stream.by], never, encoding)
  }

  describe('with EICAR in it, none is CLEAN:', () => {
    for (const kind of fixtureKinds())
      it(kind, async () => {
        const findings = await judge(fixtureOf(kind) as Buffer, kind === 'brotli' ? 'a.br' : 'a')

        expect(findings).not.to.deep.equal([])
      })

    const broken: Record<string, () => Buffer> = {
      'two zips in one file': () => Buffer.concat([deflated(), harmless()]),
      'a zip behind a zip whose comment takes it in': () => {
        const zip = Buffer.from(harmless())
        const comment = deflated()
        zip.writeUInt16LE(comment.length, zip.length - 2)
        return Buffer.concat([zip, comment])
      },
      'a zip whose directory is cut off': () => deflated().subarray(0, -30),
      'a zip that ends in a member': () => deflated().subarray(0, 140),
      'a zip with a local size of zero': () => local((zip, at) => zip.writeUInt32LE(0, at + 18)),
      'a zip with a wrong local size': () => local((zip, at) => zip.writeUInt32LE(5, at + 18)),
      'a zip with another method in the member': () =>
        local((zip, at) => zip.writeUInt16LE(0, at + 8)),
      'a 7z without its last bytes': () => (fixtureOf('7z:LZMA') as Buffer).subarray(0, -5),
      'a tar that ends in a member': () => (fixtureOf('tar') as Buffer).subarray(0, 1556),
      'a PDF behind a picture': () => behindGif('pdf:attachment'),
      'a 7z behind a picture': () => behindGif('7z:LZMA'),
      'a zip behind a gzip': () => Buffer.concat([gzipSync('hello'), deflated()]),
      'an ISO that begins as a gzip': () => {
        const iso = Buffer.from(fixtureOf('iso') as Buffer)
        gzipSync('hello').copy(iso)
        return iso
      },
      'a gzip with zeros between its members': () =>
        Buffer.concat([gzipSync(''), Buffer.alloc(16), gzipSync(eicar())]),
      'a cut gzip': () => gzipSync(eicar()).subarray(0, 40),
      'a cut xz': () => (fixtureOf('xz') as Buffer).subarray(0, -12),
      'a cut bzip2': () => (fixtureOf('bzip2') as Buffer).subarray(0, -12),
    }
    for (const [title, bytes] of Object.entries(broken))
      it(title, async () => {
        expect(await judge(bytes(), 'a')).not.to.deep.equal([])
      })

    it('what a browser unpacks by its Content-Encoding', async () => {
      const packed = brotliCompressSync(eicar())

      expect(await judge(packed, 'a', 'br')).not.to.deep.equal([])
    })

    const inside: Record<string, () => Buffer> = {
      'an LZMA member of a docx': () => fixtureOf('zip:LZMA') as Buffer,
      'a 7z with BZip2 in a zip': () =>
        zipOf([{ name: 'a.7z', bytes: fixtureOf('7z:BZip2') as Buffer }]),
      'a zip behind a letter in a zip': () =>
        zipOf([
          { name: 'a', bytes: Buffer.concat([Buffer.from('X'), fixtureOf('zip:LZMA') as Buffer]) },
        ]),
      'a RAR in a zip in a zip': () =>
        zipOf([
          {
            name: 'a.zip',
            bytes: zipOf([{ name: 'a.rar', bytes: fixtureOf('rar5') as Buffer }]),
          },
        ]),
      'a Zstandard file in a tar': () =>
        tarOf([{ name: 'a.zst', bytes: fixtureOf('zstd') as Buffer }]),
      'a Debian package in a tar.gz': () =>
        gzipSync(tarOf([{ name: 'a.deb', bytes: fixtureOf('deb') as Buffer }])),
      'a squashfs in a gzip': () => gzipSync(fixtureOf('squashfs') as Buffer),
      'a file in a .git folder': () =>
        tarOf([
          {
            name: 'objects/ab/cd',
            bytes: deflateSync(Buffer.concat([Buffer.from('blob 68\0'), eicar()])),
          },
        ]),
      'an LZMA zip in zlib': () => deflateSync(fixtureOf('zip:LZMA') as Buffer),
      'an LZMA zip attached to a mail that begins with its signature': () =>
        Buffer.from(
          'DKIM-Signature: v=1\r\nMIME-Version: 1.0\r\nContent-Type: application/zip\r\n' +
            'Content-Transfer-Encoding: base64\r\n\r\n' +
            (fixtureOf('zip:LZMA') as Buffer).toString('base64'),
        ),
      'an LZMA zip attached to a mail': () =>
        Buffer.from(
          [
            'From: a@example.org',
            'MIME-Version: 1.0',
            'Content-Type: multipart/mixed; boundary="BB"',
            '',
            '--BB',
            'Content-Type: application/zip; name="a.zip"',
            'Content-Transfer-Encoding: base64',
            '',
            (fixtureOf('zip:LZMA') as Buffer).toString('base64').replaceAll(/.{76}/g, '$&\r\n'),
            '--BB--',
            '',
          ].join('\r\n'),
        ),
    }
    for (const [title, bytes] of Object.entries(inside))
      it(title, async () => {
        expect(await judge(bytes(), 'a')).not.to.deep.equal([])
      })
  })

  describe('an everyday file', () => {
    // Everything else here is clean.
    const unscannable: Record<string, string> = {
      // Written behind its checksum, how the file is packed escapes ClamAV 1.4.
      'attachment-object-streams.pdf': '105 pdf',
      'attachment-pikepdf.pdf': '105 pdf',
      'encrypted.docx': '108 ole',
      'files.squashfs': '105 squashfs',
      'gnu.tar.zst': '105 zstd',
      'letter.txt.zst': '105 zstd',
      'library.a': '105 ar',
      'package.deb': '105 deb',
      'pbzip2.bz2': '105 bzip2',
      'with-debian-package.eml': '105 deb',
      'zip-of-a-pipe.zip': '105 zip',
    }

    it('comes out as the README says', async () => {
      const verdicts: Record<string, string> = {}
      const expected: Record<string, string> = {}
      for (const name of (await readdir(everyday)).filter((one) => one !== 'make.py')) {
        verdicts[name] = verdictOf(await judge(await readFile(new URL(name, everyday)), name))
        expected[name] = unscannable[name] ?? 'clean'
      }

      expect(Object.keys(verdicts)).to.have.length.above(40)
      expect(verdicts).to.deep.equal(expected)
    })
  })

  it('says what it is, where, and who does not open it', async () => {
    const zip = zipOf([{ name: 'docs/a.7z', bytes: fixtureOf('7z:BZip2') as Buffer }])

    const version = engine.info?.engineVersion
    expect(await judge(zip, 'a.zip')).to.deep.equal([
      {
        status: 'unscannable',
        reason: 105,
        format: '7z',
        detail: `7z with method BZip2 in the member docs/a.7z: clamd ${version} does not open it`,
      },
    ])
  })

  it('does not leave the payload as it is in any fixture', () => {
    for (const kind of fixtureKinds())
      expect((fixtureOf(kind) as Buffer).includes(eicar()), kind).to.equal(false)
    expect(gunzipSync(fixtureOf('gzip') as Buffer)).to.deep.equal(eicar())
  })
})
