// bzip2: several streams, and an end that is missing.
import { damaged, type Seen } from './seen.ts'
import { placesOf, type Source } from './source.ts'

const blockMagic = Buffer.from('1AY&SY', 'latin1')
const end = 0x177245385090n

/** @throws CannotLookError */
export async function lookIntoBzip2(source: Source, seen: Seen, where: string): Promise<void> {
  seen.need({ format: 'bzip2', kind: 'bzip2', what: 'bzip2', where })
  // A stream begins at a whole byte, and these six never stand in packed data but by a chance of 2^-48.
  for await (const at of placesOf(source, blockMagic, seen.signal, 5)) {
    const before = await source.read(at - 4, 4)
    if (!/^BZh[1-9]$/.test(before.toString('latin1'))) continue
    seen.need({ format: 'bzip2', kind: 'bzip2:several', what: 'bzip2 with several streams', where })
    break
  }
  if (!endsRight(await source.read(Math.max(0, source.size - 32), 32)))
    throw damaged('its end is missing')
}

/** The mark of the end, at any bit, with a checksum of 32 bits behind it; zeros may follow. */
function endsRight(tail: Buffer): boolean {
  let last = tail.length
  while (last > 0 && tail[last - 1] === 0) last--
  for (let stop = Math.min(tail.length, last + 5); stop >= Math.max(11, last - 1); stop--) {
    const bits = tail
      .subarray(stop - 11, stop)
      .reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
    for (let shift = 0n; shift < 8n; shift++)
      if (((bits >> (32n + shift)) & 0xffffffffffffn) === end) return true
  }
  return false
}
