// Archives that try to be more than an engine can look into: too deep, too much, too many, cut off, and lying about themselves.
import { gzipSync } from 'node:zlib'
import { samples, zipOf } from '../../support/samples.ts'

const mib = 1024 * 1024
const { eicar } = samples

const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`

/** A POSIX tar of plain files. */
export function tarOf(members: readonly { name: string; bytes: Buffer }[]): Buffer {
  const blocks = members.flatMap(({ name, bytes }) => {
    const header = Buffer.alloc(512)
    header.write(name.slice(0, 99), 0)
    header.write(octal(0o644, 8), 100)
    header.write(octal(0, 8), 108)
    header.write(octal(0, 8), 116)
    header.write(octal(bytes.length, 12), 124)
    header.write(octal(0, 12), 136)
    header.write('        0', 148)
    header.write('ustar\u{0}00', 257)
    const sum = header.reduce((total, byte) => total + byte, 0)
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    return [header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]
  })
  return Buffer.concat([...blocks, Buffer.alloc(1024)])
}

/** zips in zips around `bytes` */
export function buried(bytes: Buffer, depth: number): Buffer {
  let inner = bytes
  for (let level = 0; level < depth; level++)
    inner = zipOf([{ name: `${level}.zip`, bytes: inner }])
  return inner
}

/** `count` harmless files and a finding as the last one. */
const crowd = (count: number) => [
  ...Array.from({ length: count }, (_, index) => ({
    name: `${index}.txt`,
    bytes: Buffer.from(`letter ${index}`),
  })),
  { name: 'last.com', bytes: eicar() },
]

let zeros: Buffer | undefined

/** A few kilobytes that unpack to `copies` × 100 MiB. */
export function zipBomb(copies: number): Buffer {
  zeros ??= zipOf([{ name: 'zeros.bin', bytes: Buffer.alloc(100 * mib) }])
  const bytes = zeros
  const members = Array.from({ length: copies }, (_, index) => ({ name: `${index}.zip`, bytes }))
  return zipOf([{ name: 'all.zip', bytes: zipOf(members) }])
}

/** The same, of gzip members one after the other. */
function gzipBomb(copies: number): Buffer {
  const member = gzipSync(Buffer.alloc(100 * mib))
  return gzipSync(Buffer.concat(Array.from({ length: copies }, () => member)))
}

const cut = (bytes: Buffer, share: number) => bytes.subarray(0, Math.floor(bytes.length * share))

export interface HostileArchive {
  name: string
  bytes: () => Buffer
}

/** All with a finding in them, or with more than can be looked into: none of them is clean. */
export const hostileArchives: readonly HostileArchive[] = [
  { name: 'nested-8-eicar.zip', bytes: () => buried(eicar(), 8) },
  { name: 'nested-30.zip', bytes: () => samples.nested(30) },
  { name: 'nested-30-eicar.zip', bytes: () => buried(eicar(), 30) },
  { name: 'nested-200-eicar.zip', bytes: () => buried(eicar(), 200) },
  { name: 'bomb.zip', bytes: () => zipBomb(20) },
  { name: 'bomb.gz', bytes: () => gzipBomb(20) },
  { name: 'tar-5000-eicar.tar', bytes: () => tarOf(crowd(5000)) },
  { name: 'tar-12000-eicar.tar', bytes: () => tarOf(crowd(12_000)) },
  { name: 'tar-12000-eicar.tar.gz', bytes: () => gzipSync(tarOf(crowd(12_000))) },
  { name: 'zip-12000-eicar.zip', bytes: () => zipOf(crowd(12_000)) },
]

/** Cut off somewhere: what is left may be clean, and must never stop anybody. */
export const cutArchives: readonly HostileArchive[] = [0.1, 0.3, 0.5, 0.7, 0.9, 0.99].flatMap(
  (share) => [
    { name: `cut-${share}.zip`, bytes: () => cut(samples.zipWithEicar(), share) },
    { name: `cut-${share}.tar`, bytes: () => cut(tarOf(crowd(50)), share) },
    { name: `cut-${share}.tar.gz`, bytes: () => cut(gzipSync(tarOf(crowd(50))), share) },
    { name: `cut-${share}-bomb.zip`, bytes: () => cut(zipBomb(5), share) },
  ],
)
