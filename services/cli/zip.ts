// The few bytes of a zip file with one member, optionally with the classic PKWARE encryption. For the demo and the tests.
import { randomBytes } from 'node:crypto'
import { crc32, deflateRawSync } from 'node:zlib'

/** `member` holding `content`; with a password it is encrypted, and nobody can look inside without. */
export function zipOf(member: string, content: Buffer, password?: string): Buffer {
  const name = Buffer.from(member)
  const checksum = crc32(content)
  const packed = deflateRawSync(content)
  const data = password === undefined ? packed : encrypt(packed, password, checksum)
  const common = Buffer.alloc(26)
  common.writeUInt16LE(20, 0)
  common.writeUInt16LE(password === undefined ? 0 : 1, 2)
  common.writeUInt16LE(8, 4)
  // 1980-01-01, the earliest date there is.
  common.writeUInt16LE(0x21, 8)
  common.writeUInt32LE(checksum, 10)
  common.writeUInt32LE(data.length, 14)
  common.writeUInt32LE(content.length, 18)
  common.writeUInt16LE(name.length, 22)
  const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, name, data])
  const central = Buffer.concat([
    Buffer.from('PK\x01\x02\x14\x00', 'latin1'),
    common,
    Buffer.alloc(14),
    name,
  ])
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(1, 8)
  end.writeUInt16LE(1, 10)
  end.writeUInt32LE(central.length, 12)
  end.writeUInt32LE(local.length, 16)
  return Buffer.concat([local, central, end])
}

const table = Array.from({ length: 256 }, (_, index) => {
  let value = index
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
  return value >>> 0
})

const mix = (crc: number, byte: number) => ((crc >>> 8) ^ (table[(crc ^ byte) & 0xff] ?? 0)) >>> 0

function encrypt(data: Buffer, password: string, checksum: number): Buffer {
  let [a, b, c] = [0x12345678, 0x23456789, 0x34567890]
  const update = (byte: number) => {
    a = mix(a, byte)
    b = (Math.imul((b + (a & 0xff)) >>> 0, 134775813) + 1) >>> 0
    c = mix(c, b >>> 24)
  }
  for (const byte of Buffer.from(password)) update(byte)
  const header = randomBytes(12)
  // Lets a reader see whether the password is right.
  header[11] = checksum >>> 24
  return Buffer.from(
    Buffer.concat([header, data]).map((plain) => {
      const word = (c | 2) & 0xffff
      const key = (Math.imul(word, word ^ 1) >>> 8) & 0xff
      update(plain)
      return plain ^ key
    }),
  )
}
