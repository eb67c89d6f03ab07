// A signature set as large as an official database: it costs the same memory and time, and finds nothing but EICAR.
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { finished } from 'node:stream/promises'
import { join } from 'node:path'
import { testSignatures } from '../../services/shared/test-signatures.ts'
import { SeededBytes } from './corpus.ts'

export interface SetSize {
  hashes: number
  bodies: number
  logical: number
}

/** Of an official database: ClamAV's main and daily of 2026 hold about as many. */
export const officialSize: SetSize = { hashes: 8_300_000, bodies: 110_000, logical: 15_000 }

/** Makes it once per checkout; some 700 MB. */
export async function largeSignatures(parent: string, size = officialSize): Promise<string> {
  const folder = join(parent, `signatures-${size.hashes}-${size.bodies}-${size.logical}`)
  if (existsSync(folder)) return folder
  const building = `${folder}.building`
  rmSync(building, { recursive: true, force: true })
  mkdirSync(building, { recursive: true })
  await testSignatures(building)
  const random = new SeededBytes('signatures')
  const hex = (bytes: number) => random.take(bytes).toString('hex')
  const write = async (file: string, count: number, line: (index: number) => string) => {
    const out = createWriteStream(join(building, file))
    let chunk: string[] = []
    for (let index = 0; index < count; index++) {
      chunk.push(line(index))
      if (chunk.length < 5000 && index < count - 1) continue
      if (!out.write(chunk.join(''))) await once(out, 'drain')
      chunk = []
    }
    out.end()
    await finished(out)
  }
  const share = (part: number) => Math.round(size.hashes * part)
  const bytesOf = () => 100 + random.number(2_000_000)
  // The shares of the kinds, and the bodies' and expressions' lengths, as in the official database.
  await write('bench.hdb', share(0.24), (index) => `${hex(16)}:${bytesOf()}:Bench.Hdb-${index}\n`)
  await write('bench.hsb', share(0.27), (index) => `${hex(32)}:${bytesOf()}:Bench.Hsb-${index}\n`)
  await write('bench.mdb', share(0.42), (index) => `${bytesOf()}:${hex(16)}:Bench.Mdb-${index}\n`)
  await write('bench.msb', share(0.07), (index) => `${bytesOf()}:${hex(32)}:Bench.Msb-${index}\n`)
  const body = () => hex(12 + random.number(30))
  await write('bench.ndb', size.bodies, (index) => `Bench.Ndb-${index}:0:*:${body()}\n`)
  await write(
    'bench.ldb',
    size.logical,
    (index) =>
      `Bench.Ldb-${index};Engine:51-255,Target:0;(0&1)|(2&3);${body()};${body()};${body()};${body()}\n`,
  )
  renameSync(building, folder)
  return folder
}
