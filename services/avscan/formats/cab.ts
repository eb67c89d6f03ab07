// Microsoft cabinet: each folder says how it is packed.
import { formatReasons, damaged, type Seen } from './seen.ts'
import type { Source } from './source.ts'

const methods = ['no compression', 'MSZIP', 'Quantum', 'LZX']

/** @throws CannotLookError */
export async function lookIntoCab(source: Source, seen: Seen, where: string): Promise<void> {
  const head = await source.read(0, 64 * 1024)
  if (head.length < 36) throw damaged('it is cut')
  if (head.readUInt32LE(8) > source.size) throw damaged('it is cut')
  const flags = head.readUInt16LE(30)
  if ((flags & 3) !== 0)
    seen.problem({
      reason: formatReasons.damaged,
      format: 'cab',
      detail: `cabinet${where}: one of several parts`,
    })
  let at = 36
  let folderExtra = 0
  if ((flags & 4) !== 0) {
    if (head.length < 40) throw damaged('it is cut')
    folderExtra = head[38] ?? 0
    at = 40 + head.readUInt16LE(36)
  }
  // The names of the parts before and behind it, and of their disks.
  for (let names = 2 * ((flags & 1) + ((flags >> 1) & 1)); names > 0; names--) {
    const zero = head.indexOf(0, at)
    if (zero < 0) throw damaged('its header does not end')
    at = zero + 1
  }
  for (let folder = head.readUInt16LE(26); folder > 0; folder--, at += 8 + folderExtra) {
    if (at + 8 > head.length) throw damaged('it is cut')
    const method = head.readUInt16LE(at + 6) & 0xf
    const what = methods[method] ?? `method ${method}`
    seen.need({ format: 'cab', kind: `cab:${what}`, what: `cabinet with ${what}`, where })
  }
}
