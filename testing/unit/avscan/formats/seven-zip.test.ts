import { expect } from 'chai'
import { inflateRawSync } from 'node:zlib'
import { fixtureOf } from '../../../../services/avscan/formats/fixtures.ts'
import { Seen } from '../../../../services/avscan/formats/seen.ts'
import { lookInto7z } from '../../../../services/avscan/formats/seven-zip.ts'
import { bytesOf } from '../../../../services/avscan/formats/source.ts'
import { look } from '../../../../services/avscan/formats/look.ts'
import { rejection } from '../../../support/rejection.ts'

const unpacked = (packed: string) => inflateRawSync(Buffer.from(packed, 'base64'))

/** Made by 7-Zip with a password, with and without an encrypted header. */
const encryptedHeader = () =>
  unpacked(
    'M6/as15dhoHl9APrLQ0MEKAHpS+p36yf9FfKuVHb8WLCCXX3xZq7k5Z2TFXnLdr/4tX0bavL9jjUJx1+m/PN' +
      'YaqdzYzNNitzUi5u+P4tW4BnU8XuV5diftSXvU7lfLvzWNlXuSWL7kts+LVGO4Nrg+W/2HfHV3ZLSk2dd9pF' +
      'YuKphj0Bx2cLvPa8m3BMR+0os3P78t1cm4V4p6i75ZSlibMJMHIWMLBzMzIwqrB9ZGcUCua/7n9k+bvJFlbl' +
      'EVE3s1ztzvNkcTGu3bHci4EBAA==',
  )
const encryptedMember = () =>
  unpacked(
    'M6/as15dhoHlVMFBNQEGCMiC0r62vPFG98tkGZ3afvzMUtI7PO37FUYWNgZGTgEGdm5GBiYVto/sjELB/P7L' +
      '486sex7urNG77an1BG5LRUVGBkYGHi42Bg4uRgUDKzMGBlZGSUYGQVGGDIZUhhwgzGfQYyhhqABiBgYRLkaG' +
      'u/sXWbrX3mUUZWNkUGhY0sjAAAA=',
  )
/** Its header of 44 kB unpacks to 300 MB of zeros. */
const headerBomb = () =>
  unpacked(
    '7c1fS1NxAMbx3yGnibNpES1IE1ZtLdC6Kcs0GKHFWJCLarhYgSmFMQ21iHBWKGMEc6UxQrpwVGSOZZCGlBxT' +
      'iRhGEoEFWv4LBiFRxM6Y4wTtDfQCvt+b5+K5+Oy79ipi3CIyettPlPaFxb/M6REefWlKCHdKVUPDalXFkY2X' +
      '9587/vKO6XuoMyuxslR482PJ5IGDknWw7Z3PZysJ5X72PFq8bci3f3PoJ1t8C1eUoW6P9qI813y0diHmtD/P' +
      'mIkf1j515V6qjC2Pt3qH750aGLLNXyhwJ63evAZL1HvIKfwfjkV2mLqbtpb7t803PnhscP0wRTume4K+NnPg' +
      'l7ElvlnODNqCqZnIpy7dxHa78iewd4/m4bMV91ijrUo7HcjvD58tGHk/aNQ7HZ2xuurTo7HWAcfSco1mbeLt' +
      'l/BqsnpX81RhTZElMWsvV3bWZpe1R80NX1+U/Zx4Xezq11VY6yxdG9apeXeVpqsOJWdK7TFV6p6sXp9L3t9d' +
      'fFL2d/y+dUM+Dw0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0N' +
      'DQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0N' +
      'DQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0N/Z/0+GL9SFGv' +
      'qsbfyGJTppCy1b6wSJeVIwnJsEaSNGeEkIRWFUJen77+Ag==',
  )

/** Packed with LZMA twice. */
const chain = () =>
  unpacked(
    'M6/as15dhoHlRo5zXxADBCRB6ZUrvnxlYOC+dyTT+nK1gEBAaa6lp4W/7q7SOQL8Qedl93W8EnY8eiX6/5zHE+y+rW' +
      'Nv9rkq3LpIvuK3dpP2M/npDZPeWNR56jzxPp+00OfY3l8z4v+FPp1zlYGRhY2BkTOIgZ2bkYFJmZmRkTWWQYCBAcFi' +
      'ZOBxd2Hg4GK0OR+YwcDAyijJyQADgrwMqQx6DMkM+Qy5QK4IFyNDwHR1E+/au4yibIwMCg1LGhkYAA==',
  )

const reasonsIn = async (bytes: Buffer) => {
  const seen = new Seen(new AbortController().signal)
  await look(bytesOf(bytes), 'a.7z', seen)
  return seen.problems.map(({ reason }) => reason)
}

const kindsOf = async (bytes: Buffer) => {
  const seen = new Seen(new AbortController().signal)
  await look(bytesOf(bytes), 'a.7z', seen)
  return [...seen.needs.keys()]
}
const kindsIn = (kind: string) => kindsOf(fixtureOf(kind) as Buffer)

describe('7z', function () {
  this.timeout(20_000)

  it('is encrypted (107), its header too or only its members', async () => {
    expect(await reasonsIn(encryptedHeader())).to.deep.equal([107])
    expect(await reasonsIn(encryptedMember())).to.deep.equal([107])
  })

  it('is damaged (106) when its header wants more memory than there is, and the next one is read', async () => {
    const before = process.memoryUsage().rss
    expect(await reasonsIn(headerBomb())).to.deep.equal([106])
    expect(process.memoryUsage().rss - before).to.be.below(250e6)

    expect(await reasonsIn(fixtureOf('7z:LZMA') as Buffer)).to.deep.equal([])
  })

  it('is damaged (106) when any of its bytes is another', async () => {
    const bytes = Buffer.from(fixtureOf('7z:LZMA') as Buffer)
    for (const at of [8, 12, 20, 28, bytes.length - 5]) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 0xff
      expect(await reasonsIn(changed), `byte ${at}`).to.deep.equal([106])
    }
  })

  it('is given up when its object is, and the next one is read', async () => {
    const stop = new AbortController()
    const bytes = fixtureOf('7z:LZMA') as Buffer
    const looking = lookInto7z(bytesOf(bytes), new Seen(stop.signal), '')
    stop.abort(new Error('shutdown'))

    expect((await rejection(looking)).message).to.equal('shutdown')
    expect(await reasonsIn(bytes)).to.deep.equal([])
  })

  it('is asked for as the whole chain of its coders', async () => {
    expect(await kindsOf(chain())).to.deep.equal(['7z:LZMA+LZMA'])
    expect(fixtureOf('7z:LZMA+LZMA')).to.equal(undefined)
    expect(await kindsIn('7z:ARM+LZMA')).to.deep.equal(['7z:ARM+LZMA'])
    expect(await kindsIn('7z:BCJ2+LZMA2+LZMA+LZMA')).to.deep.equal(['7z:BCJ2+LZMA2+LZMA+LZMA'])
  })

  it('is read one at a time, each with its own answer', async () => {
    const kinds = ['7z:LZMA', '7z:BZip2', '7z:PPMD', '7z:Copy']
    const found = await Promise.all(
      kinds.map(async (kind) => {
        const seen = new Seen(new AbortController().signal)
        await look(bytesOf(fixtureOf(kind) as Buffer), 'a.7z', seen)
        return [...seen.needs.keys()]
      }),
    )

    expect(found).to.deep.equal(kinds.map((kind) => [kind]))
  })
})
