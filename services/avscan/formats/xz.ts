// xz: filters of the first block, several blocks, several streams, and an end that is missing.
import { damaged, type Seen } from './seen.ts'
import { placesOf, type Source } from './source.ts'

const magic = Buffer.from('\xfd7zXZ\0', 'latin1')
const filters = new Map([
  [3, 'Delta'],
  [4, 'x86'],
  [5, 'PowerPC'],
  [6, 'IA64'],
  [7, 'ARM'],
  [8, 'ARM-Thumb'],
  [9, 'SPARC'],
  [10, 'ARM64'],
  [11, 'RISC-V'],
  [0x21, 'LZMA2'],
])

/** @throws CannotLookError */
export async function lookIntoXz(source: Source, seen: Seen, where: string): Promise<void> {
  const need = (kind: string, what: string) =>
    seen.need({ format: 'xz', kind: `xz:${kind}`, what, where })
  for (const filter of filtersOf(await source.read(12, 1024)))
    if (filter === 'LZMA2') seen.need({ format: 'xz', kind: 'xz', what: 'xz', where })
    else need(filter, `xz with the filter ${filter}`)
  for await (const at of placesOf(source, magic, seen.signal, 12)) {
    // The flags: a reserved byte and one of four checks.
    const flags = await source.read(at + 6, 2)
    if (flags[0] !== 0 || (flags[1] ?? 0) > 15) continue
    need('streams', 'xz with several streams')
    break
  }
  const end = await lastFooter(source)
  if (end === undefined) throw damaged('its end is missing')
  if (end.blocks > 1) need('blocks', 'xz with several blocks')
}

function filtersOf(block: Buffer): string[] {
  // An index in place of a block: nothing is in it.
  if ((block[0] ?? 0) === 0) return []
  const count = ((block[1] ?? 0) & 3) + 1
  let at = 2
  const number = () => {
    let value = 0
    for (let shift = 0; shift < 63; shift += 7) {
      const byte = block[at++]
      if (byte === undefined) throw damaged('its block header is damaged')
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) break
    }
    return value
  }
  if ((block[1] ?? 0) & 0x40) number()
  if ((block[1] ?? 0) & 0x80) number()
  return Array.from({ length: count }, () => {
    const id = number()
    const properties = number()
    at += properties
    return filters.get(id) ?? `0x${id.toString(16)}`
  })
}

/** How many blocks the index before the last footer names; undefined without a footer. */
async function lastFooter(source: Source): Promise<{ blocks: number } | undefined> {
  // Streams may be padded with zeros.
  let end = source.size
  while (end >= 24) {
    const footer = await source.read(end - 12, 12)
    if (footer.readUInt32LE(8) === 0) {
      end -= 4
      if (source.size - end > 64 * 1024) return undefined
      continue
    }
    if (footer.toString('latin1', 10, 12) !== 'YZ') return undefined
    const indexBytes = (footer.readUInt32LE(4) + 1) * 4
    const index = await source.read(end - 12 - indexBytes, 6)
    if (end - 12 - indexBytes < 12 || index[0] !== 0) return undefined
    return { blocks: ((index[1] ?? 0) & 0x7f) + ((index[1] ?? 0) >= 0x80 ? 128 : 0) }
  }
  return undefined
}
