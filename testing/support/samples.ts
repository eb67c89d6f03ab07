// Bytes that engines must tell apart, made at run time: nothing in the repository is itself a finding.
import { randomBytes } from 'node:crypto'
import { crc32, deflateRawSync } from 'node:zlib'
import { eicar } from '../../services/shared/test-signatures.ts'

export interface ZipMember {
  name: string
  bytes: Buffer
  encrypted?: boolean
}

/** A zip archive; an encrypted member has the flag, the length and the looks of one, but no password opens it. */
export function zipOf(members: readonly ZipMember[]): Buffer {
  const locals: Buffer[] = []
  const central: Buffer[] = []
  let offset = 0
  for (const { name, bytes, encrypted = false } of members) {
    const deflated = deflateRawSync(bytes)
    const data = encrypted ? randomBytes(deflated.length + 12) : deflated
    const fields = Buffer.alloc(26)
    fields.writeUInt16LE(20, 0)
    fields.writeUInt16LE(encrypted ? 1 : 0, 2)
    fields.writeUInt16LE(8, 4)
    fields.writeUInt32LE(crc32(bytes), 10)
    fields.writeUInt32LE(data.length, 14)
    fields.writeUInt32LE(bytes.length, 18)
    fields.writeUInt16LE(name.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), data])
    const place = Buffer.alloc(14)
    place.writeUInt32LE(offset, 10)
    central.push(
      Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), fields, place, Buffer.from(name)]),
    )
    locals.push(local)
    offset += local.length
  }
  const directory = Buffer.concat(central)
  const end = Buffer.alloc(18)
  end.writeUInt16LE(members.length, 4)
  end.writeUInt16LE(members.length, 6)
  end.writeUInt32LE(directory.length, 8)
  end.writeUInt32LE(offset, 12)
  return Buffer.concat([...locals, directory, Buffer.from('PK\x05\x06'), end])
}

export const samples = {
  clean: () => Buffer.from('a harmless letter\n'.repeat(50)),
  empty: () => Buffer.alloc(0),
  eicar,
  zipWithEicar: () =>
    zipOf([
      { name: 'readme.txt', bytes: Buffer.from('see the other file\n') },
      { name: 'eicar.com', bytes: eicar() },
    ]),
  encryptedZip: () =>
    zipOf([
      { name: 'secret.txt', bytes: Buffer.from('cannot be read '.repeat(20)), encrypted: true },
    ]),
  /** a small file that unpacks to `bytes` */
  bomb: (bytes: number) => zipOf([{ name: 'zeros.bin', bytes: Buffer.alloc(bytes) }]),
  /** zips in zips */
  nested: (depth: number) => {
    let bytes: Buffer = Buffer.from('at the bottom\n')
    for (let level = 0; level < depth; level++) bytes = zipOf([{ name: `${level}.zip`, bytes }])
    return bytes
  },
  /** incompressible, with `last` as its last bytes */
  large: (bytes: number, last: Buffer = Buffer.alloc(0)) =>
    Buffer.concat([randomBytes(bytes - last.length), last]),
}
