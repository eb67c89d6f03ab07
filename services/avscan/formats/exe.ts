// Programs: what is glued to their end.
import type { Source } from './source.ts'

/** Where the program itself ends; undefined when its headers do not say. */
export async function overlayOf(source: Source): Promise<number | undefined> {
  const head = await source.read(0, 4096)
  const end = head[0] === 0x7f ? endOfElf(head) : endOfPe(head)
  return end === undefined || end <= 0 || end >= source.size ? undefined : end
}

function endOfPe(head: Buffer): number | undefined {
  if (head.length < 64) return undefined
  const at = head.readUInt32LE(60)
  if (at + 24 > head.length || head.toString('latin1', at, at + 4) !== 'PE\0\0') return undefined
  const sections = head.readUInt16LE(at + 6)
  let place = at + 24 + head.readUInt16LE(at + 20)
  let end = 0
  for (let section = 0; section < sections; section++, place += 40) {
    if (place + 24 > head.length) return undefined
    end = Math.max(end, head.readUInt32LE(place + 20) + head.readUInt32LE(place + 16))
  }
  return end
}

function endOfElf(head: Buffer): number | undefined {
  if (head.length < 64) return undefined
  const [wide, little] = [head[4] === 2, head[5] === 1]
  const short = (at: number) => (little ? head.readUInt16LE(at) : head.readUInt16BE(at))
  const long = (at: number) => {
    if (wide) return Number(little ? head.readBigUInt64LE(at) : head.readBigUInt64BE(at))
    return little ? head.readUInt32LE(at) : head.readUInt32BE(at)
  }
  const table = long(wide ? 40 : 32)
  const end = table + short(wide ? 58 : 46) * short(wide ? 60 : 48)
  return Number.isSafeInteger(end) ? end : undefined
}
