import { expect } from 'chai'
import { randomBytes } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import { isPlain } from '../../../../services/avscan/formats/look.ts'
import { formatOf, formatOfTail } from '../../../../services/avscan/formats/magic.ts'
import { bytesOf } from '../../../../services/avscan/formats/source.ts'

const latin1 = (text: string) => Buffer.from(text, 'latin1')
const padded = (at: number, text: string, size = 70_000) => {
  const bytes = Buffer.alloc(size)
  bytes.write(text, at, 'latin1')
  return bytes
}

describe('formatOf', () => {
  for (const [name, bytes] of Object.entries({
    zip: latin1('PK\x03\x04'),
    '7z': latin1('7z\xbc\xaf\x27\x1c'),
    rar5: latin1('Rar!\x1a\x07\x01\0'),
    zstd: latin1('\x28\xb5\x2f\xfd'),
    vmdk: latin1('COWD\x01\0\0\0\x03\0\0\0'),
    stuffit: latin1('SIT!\0\x01\0\0\x10\0rLau\x01'),
    lzip: latin1('LZIP\x01\x0c\0abc'),
    lrzip: latin1('LRZI\0\x08'),
    rzip: latin1('RZIP\x02\x01'),
    egg: latin1('EGGA\0\x01abcd\0\0\0\0'),
    chm: latin1('ITSF\x03\0\0\0'),
    xar: latin1('xar!\0\x1c\0\x01'),
    rar1: latin1('RE~^\x07\0'),
    ace: latin1('12345\0\x31**ACE**\x14\x14\x02\0'),
    pack: latin1('\x1f\x1e\0\0\x01\0\x08abc'),
    deb: latin1('!<arch>\ndebian-binary   '),
    ar: latin1('!<arch>\na.o'),
    'cpio:odc': latin1(`070707${'0'.repeat(70)}${'long/'.repeat(40)}\0`),
    iso: padded(32_769, 'CD001'),
    btrfs: padded(65_600, '_BHRfS_M'),
    zlib: deflateSync(Buffer.from('some text')),
    uuencode: latin1('begin 644 a.zip\nM4$L'),
    mail: latin1('Received: from a by b\r\n'),
  }))
    it(`knows ${name} by its first bytes`, () => {
      expect(formatOf(bytes)?.name).to.equal(name)
    })

  for (const [title, bytes] of Object.entries({
    'an empty file': Buffer.alloc(0),
    'one byte': latin1('P'),
    zeros: Buffer.alloc(70_000),
    'a formula that begins like zlib': latin1('x^2 + y^2 = r^2\n'.repeat(100)),
    'the same, x with an umlaut behind': latin1('x\x9c and so on\n'.repeat(100)),
    'a text that begins with BZh': latin1('BZh is how bzip2 files begin\n'),
    'a text that begins with MS': latin1('MSCF is a cabinet\n'),
    'a list that begins with a bracket': latin1(']\0\0 and more'),
    'a script': latin1('#!/bin/sh\necho hello\n'),
    'a list of names': latin1('COWDREY,ANNE,1970\r\n'),
    'a word to a dog': latin1('SIT! Stay!\n'),
    'a text about lzip': Buffer.from('LZIP is a compressor – not a container'),
    'a text about rzip': latin1('RZIP vs LZIP vs LRZI\n'),
    'a text about lrzip': latin1('LRZI\tis how lrzip files begin'),
    'a title': latin1('EGGA, LADY\n'),
    'a text about VMDK': latin1('KDMV is VMDK backwards\n'),
    'a text about StuffIt': latin1('StuffIt was an archiver.\n'),
    'a text about CHM': latin1('ITSF\n'),
    'a cry': latin1('xar! Look here\n'),
    'a text about VHD': latin1('conectix is how a VHD ends'),
    'a pattern': latin1('RE~^[a-z]+$\n'),
    'a text with bold letters': latin1('We are **ACE** today\n'),
    'two bytes of pack without its depth': latin1('\x1f\x1e\0\0\x01\0\x80abc'),
    JSON: latin1('{"a":[1,2,3]}'),
    PNG: latin1('\x89PNG\r\n\x1a\n\0\0\0\rIHDR'),
    'a word with begin': latin1('begin with this\n'),
  }))
    it(`takes ${title} for no container`, () => {
      expect(formatOf(bytes)).to.equal(undefined)
    })

  it('takes next to no random bytes for a container', () => {
    let taken = 0
    for (let round = 0; round < 3000; round++)
      if (formatOf(randomBytes(1500)) !== undefined) taken++

    expect(taken).to.be.below(5)
  })

  it('knows disk images by their last 512 bytes', () => {
    expect(
      formatOfTail(Buffer.concat([Buffer.alloc(9), padded(0, 'koly\0\0\0\x04', 512)]))?.name,
    ).to.equal('dmg')
    expect(formatOfTail(padded(0, 'conectix', 512))?.name).to.equal('vhd')
  })
})

describe('isPlain', () => {
  it('costs a small text object at most 100 µs', async () => {
    const text = bytesOf(
      Buffer.from('{"id":123,"name":"some text","values":[1,2,3]}\n'.repeat(250)),
    )
    const rounds = 2_000
    for (let round = 0; round < rounds; round++) await isPlain(text, 'a.json')
    const before = process.cpuUsage()
    for (let round = 0; round < rounds; round++)
      expect(await isPlain(text, 'a.json')).to.equal(true)
    const { user, system } = process.cpuUsage(before)

    expect((user + system) / rounds).to.be.below(100)
  })

  it('looks closer where a zip may end, and at the name for Brotli', async () => {
    expect(await isPlain(bytesOf(latin1('text PK\x05\x06 text')), 'a')).to.equal(false)
    expect(await isPlain(bytesOf(latin1('text')), 'a.js.br')).to.equal(false)
  })
})
