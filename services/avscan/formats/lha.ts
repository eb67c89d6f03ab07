// LHA: each member says how it is packed.
import { damaged, type Seen } from './seen.ts'
import { windowed, type Source } from './source.ts'

const folder = '-lhd-'

/** @throws CannotLookError */
export async function lookIntoLha(
  archive: Source,
  seen: Seen,
  where: string,
  depth: number,
): Promise<void> {
  const source = windowed(archive)
  for (let at = 0; at < source.size;) {
    const header = await source.read(at, 24)
    // A zero ends it.
    if (header.length < 21 || header[0] === 0) return
    const method = header.toString('latin1', 2, 7)
    if (!/^-l[hz][0-9a-z]-$/.test(method)) throw damaged('a header is damaged')
    await seen.member(depth)
    if (method !== folder)
      seen.need({ format: 'lha', kind: `lha:${method}`, what: `LHA with method ${method}`, where })
    // Level 2 counts its headers in two bytes, the others in one and without these two.
    const headers = header[20] === 2 ? header.readUInt16LE(0) : (header[0] ?? 0) + 2
    at += headers + header.readUInt32LE(7)
    if (at > source.size) throw damaged('it is cut')
  }
}
