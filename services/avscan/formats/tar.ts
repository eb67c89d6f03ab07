// tar in all its dialects: 512 bytes of header, then the member.
import { formatOf, headBytes, isTar, type Format } from './magic.ts'
import type { Cursor } from './cursor.ts'
import { damaged, type Seen } from './seen.ts'

const block = 512
const longestRecords = 1024 ** 2

export interface TarMember {
  name: string
  size: number
  /** Where its data begins. */
  at: number
  /** What it begins with. */
  format: Format | undefined
}

/** Calls `member` at each file; the cursor then stands before its data. */
export async function readTar(
  cursor: Cursor,
  seen: Seen,
  where: string,
  depth: number,
  member: (member: TarMember) => Promise<void>,
): Promise<void> {
  let paxSize: number | undefined
  let ended = false
  for (;;) {
    const header = await cursor.take(block)
    if (header.length === 0) return
    if (header.every((byte) => byte === 0)) {
      ended = true
      continue
    }
    if (!isTar(header)) {
      // Behind the end anything may stand.
      if (ended) return
      throw damaged('a header is damaged')
    }
    if (ended) {
      seen.need({ format: 'tar', kind: 'tar:several', what: 'several tars in a row', where })
      ended = false
    }
    await seen.member(depth)
    const type = String.fromCharCode(header[156] ?? 0)
    if (((header[124] ?? 0) & 0x80) !== 0)
      seen.need({ format: 'tar', kind: 'tar:base256', what: 'tar with a binary size', where })
    let size = sizeIn(header)
    if (paxSize !== undefined && type !== 'x' && type !== 'g' && type !== 'L' && type !== 'K') {
      size = paxSize
      paxSize = undefined
    }
    // Links and folders have no data, whatever their size says.
    if ('123456'.includes(type)) size = 0
    const end = cursor.position + Math.ceil(size / block) * block
    if (type === 'x' || type === 'g') {
      if (size > longestRecords) throw damaged('a PAX header is larger than any is')
      const said = paxSizeIn(await cursor.take(size))
      if (type === 'x') paxSize = said
      if (said !== undefined)
        seen.need({
          format: 'tar',
          kind: 'tar:pax-size',
          what: 'tar with its size in a PAX header',
          where,
        })
    } else if (type === 'S' && header[482] === 1) {
      // An old GNU sparse map goes on in blocks of its own.
      for (let more = true; more;) {
        const map = await cursor.take(block)
        more = map.length === block && map[504] === 1
      }
    }
    const start = cursor.position
    const length = type === 'S' ? Math.ceil(size / block) * block : end - start
    // A type that nobody knows is a file to most.
    if (size > 0 && !'xgLKDNVMI'.includes(type)) {
      const format = formatOf(await cursor.peek(Math.min(size, headBytes)))
      await member({ name: nameIn(header), format, size, at: start })
    }
    if (!(await cursor.skip(start + length - cursor.position))) throw damaged('it is cut')
  }
}

function nameIn(header: Buffer): string {
  return header.toString('utf8', 0, 100).replace(/\0.*$/s, '')
}

function sizeIn(header: Buffer): number {
  const field = header.subarray(124, 136)
  if (((field[0] ?? 0) & 0x80) !== 0) {
    const size = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0)
    if (!Number.isSafeInteger(size)) throw damaged('a size makes no sense')
    return size
  }
  const said = /^ *([0-7]*)[ \0]*$/.exec(field.toString('latin1').replace(/\0.*$/s, ''))?.[1]
  if (said === undefined) throw damaged('a size makes no sense')
  return said === '' ? 0 : Number.parseInt(said, 8)
}

function paxSizeIn(records: Buffer): number | undefined {
  const size = /(?:^|\n)\d+ size=(\d+)\n/.exec(records.toString('utf8'))?.[1]
  return size === undefined ? undefined : Number(size)
}
