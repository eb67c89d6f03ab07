// A signature set with a version, for clamd: what VERSION says changes with it, as with the official set after an update.
// An unsigned `daily.cud` is enough: a header of 512 bytes and a gzipped tar with a list of contents and the signatures.
import { createHash } from 'node:crypto'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { eicar } from '../../services/shared/test-signatures.ts'

export interface SignatureSetOptions {
  /** what VERSION will say */
  version: number
  /** name → bytes that are found anywhere in a file; clamd appends `.UNOFFICIAL`. Without it: EICAR alone */
  signatures?: Record<string, Buffer>
  /** when the set was made; default: an hour ago */
  date?: Date
}

const databaseFile = /\.(cvd|cld|cud|ndb|hdb)$/

/**
 * Makes `folder` (a running clamd's too) hold exactly this set. clamd reads it at its start, on RELOAD and at its next
 * SelfCheck. EICAR is in it unless `signatures` leaves it out, as a wrong set would.
 */
export async function testSignatureSet(
  folder: string,
  { version, signatures = withEicar({}), date }: SignatureSetOptions,
): Promise<void> {
  const lines = Object.entries(signatures).map(
    ([name, bytes]) => `${name}:0:*:${bytes.toString('hex')}\n`,
  )
  const body = Buffer.from(lines.join(''))
  const seconds = Math.floor((date?.getTime() ?? Date.now() - 3_600_000) / 1000)
  const header = `ClamAV-VDB:01 Jan 2026 00-00 +0000:${version}:${lines.length}:60:X:X:test:${seconds}`
  const sha256 = createHash('sha256').update(body).digest('hex')
  const contents = Buffer.from(`${header}\ndaily.ndb:${body.length}:${sha256}\n`)
  const archive = Buffer.concat([
    ...tarMember('daily.info', contents),
    ...tarMember('daily.ndb', body),
    Buffer.alloc(1024),
  ])
  await mkdir(folder, { recursive: true })
  const target = join(folder, 'daily.cud')
  // A clamd that reloads in the middle must not see half of it; the other files' signatures are not in this set.
  await writeFile(
    `${target}.new`,
    Buffer.concat([Buffer.from(header.padEnd(512)), gzipSync(archive)]),
  )
  await rename(`${target}.new`, target)
  for (const name of await readdir(folder))
    if (databaseFile.test(name) && name !== 'daily.cud') await rm(join(folder, name))
}

/** `signatures` and EICAR. */
export function withEicar(signatures: Record<string, Buffer>): Record<string, Buffer> {
  return { 'Eicar-Test-Signature': eicar(), ...signatures }
}

function tarMember(name: string, bytes: Buffer): Buffer[] {
  const header = Buffer.alloc(512)
  header.write(name, 0)
  header.write('0000644\0', 100)
  header.write('0000000\0', 108)
  header.write('0000000\0', 116)
  header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124)
  header.write('00000000000\0', 136)
  header.write('        0', 148)
  header.write('ustar\u000000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return [header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]
}
