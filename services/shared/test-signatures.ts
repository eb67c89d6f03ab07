// The EICAR test file and a signature set that knows nothing else: for tests, demos and machines without a signature
// mirror. Both are put together at run time, so that no file of this repository is itself a finding.
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** The 68 bytes of the EICAR anti-virus test file. */
export function eicar(): Buffer {
  return Buffer.from(
    ['X5O!P%@AP[4\\PZX54(P^)7CC)7}', '$EICAR-STANDARD', '-ANTIVIRUS', '-TEST-FILE!', '$H+H*'].join(
      '',
    ),
    'latin1',
  )
}

/** Writes the EICAR-only set into `directory` (made if missing); it finds the test file at any place of a file. Idempotent. */
export async function testSignatures(directory: string): Promise<void> {
  const bytes = eicar()
  const md5 = createHash('md5').update(bytes).digest('hex')
  await mkdir(directory, { recursive: true })
  // clamd appends `.UNOFFICIAL` to every name from an unsigned set.
  await writeFile(
    join(directory, 'test.ndb'),
    `Eicar-Test-Signature:0:*:${bytes.toString('hex')}\n`,
  )
  await writeFile(join(directory, 'test.hdb'), `${md5}:${bytes.length}:Eicar-Test-File\n`)
}
