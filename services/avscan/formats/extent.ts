// How far a container reaches that is known from its front, where the engine opens its members: zips among them are
// members, not something that a zip at the end hides.
import type { Format } from './magic.ts'
import type { Seen } from './seen.ts'
import { windowed, type Source } from './source.ts'

export type Range = [from: number, to: number]

/** Undefined: nobody knows, or its members are looked at one by one. */
export async function extentOf(
  format: Format,
  source: Source,
  seen: Seen,
): Promise<Range | undefined> {
  const end = await endOf(format, source, seen)
  return end === undefined ? undefined : [0, Math.min(end, source.size)]
}

function endOf(format: Format, source: Source, seen: Seen): Promise<number | undefined> {
  switch (format.name) {
    case '7z':
      return endOf7z(source)
    case 'iso':
      return endOfIso(source)
    case 'cpio':
    case 'cpio:odc':
      return endOfCpio(windowed(source), seen)
    case 'ole':
      return endOfOle(source)
    default:
      return Promise.resolve(undefined)
  }
}

async function endOf7z(source: Source): Promise<number | undefined> {
  const start = await source.read(0, 32)
  if (start.length < 32) return undefined
  return 32 + Number(start.readBigUInt64LE(12)) + Number(start.readBigUInt64LE(20))
}

/** The first volume descriptor counts its blocks. */
async function endOfIso(source: Source): Promise<number | undefined> {
  const volume = await source.read(16 * 2048, 2048)
  if (volume.length < 2048 || volume[0] !== 1) return undefined
  return volume.readUInt32LE(80) * volume.readUInt16LE(128)
}

/** The two dialects in text. */
const cpios = {
  newc: { magic: /^07070[12]/, header: 110, base: 16, size: [54, 62], name: [94, 102], align: 4 },
  odc: { magic: /^070707/, header: 76, base: 8, size: [65, 76], name: [59, 65], align: 1 },
} as const

async function endOfCpio(source: Source, seen: Seen): Promise<number | undefined> {
  for (let at = 0; ;) {
    const head = (await source.read(at, 110)).toString('latin1')
    const dialect = Object.values(cpios).find(({ magic }) => magic.test(head))
    if (dialect === undefined) return undefined
    await seen.member(0)
    const { header, base, size, name, align } = dialect
    const [sizeBytes, nameBytes] = [size, name].map((field) =>
      Number.parseInt(head.slice(...field), base),
    ) as [number, number]
    if (!Number.isSafeInteger(sizeBytes + nameBytes)) return undefined
    const padded = (place: number) => Math.ceil(place / align) * align
    const dataAt = padded(at + header + nameBytes)
    const called = await source.read(at + header, 11)
    at = padded(dataAt + sizeBytes)
    if (called.toString('latin1') === 'TRAILER!!!\0') return at
  }
}

const freeSector = 0xffffffff
/** Further sectors of the table are named elsewhere. */
const inHeader = 109

/** The last sector that its table calls used. */
async function endOfOle(source: Source): Promise<number | undefined> {
  const head = await source.read(0, 512)
  if (head.length < 512) return undefined
  const sectorBytes = 2 ** head.readUInt16LE(30)
  const tables = head.readUInt32LE(44)
  if ((sectorBytes !== 512 && sectorBytes !== 4096) || tables === 0 || tables > inHeader)
    return undefined
  const table = await source.read(
    (head.readUInt32LE(72 + 4 * tables) + 1) * sectorBytes,
    sectorBytes,
  )
  let used = Math.floor(table.length / 4)
  while (used > 0 && table.readUInt32LE(4 * used - 4) === freeSector) used--
  return ((tables - 1) * (sectorBytes / 4) + used + 1) * sectorBytes
}
