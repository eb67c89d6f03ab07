// xz: the filters of every block of every stream, several blocks, several streams, and an end that is missing.
import { damaged, tooMuchToHold, type Seen } from './seen.ts'
import { windowed, type Source } from './source.ts'

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
/** Of a stream's header, and of its footer. */
const edgeBytes = 12
const mostPadding = 64 * 1024
/** As long as the size of a block's header can be. */
const longestHeader = 1024

/** From the last stream to the first, for only its end says where a stream begins. @throws CannotLookError */
export async function lookIntoXz(
  source: Source,
  seen: Seen,
  where: string,
  depth: number,
): Promise<void> {
  const need = (kind: string, what: string) =>
    seen.need({ format: 'xz', kind: `xz:${kind}`, what, where })
  const near = windowed(source)
  let streams = 0
  for (let end = source.size; end > 0;) {
    // Streams may be padded with zeros, and none ends with one.
    const from = Math.max(0, end - mostPadding)
    const tail = await source.read(from, end - from)
    end = from + tail.findLastIndex((byte) => byte !== 0) + 1
    const footer = await source.read(Math.max(0, end - edgeBytes), edgeBytes)
    if (end < 2 * edgeBytes || footer.toString('latin1', 10, 12) !== 'YZ')
      throw damaged('its end is missing')
    const { blocks, begin } = await readIndex(source, end, footer, seen, depth)
    if (++streams > 1) need('streams', 'xz with several streams')
    if (blocks.length > 1) need('blocks', 'xz with several blocks')
    for (const at of blocks)
      for (const filter of filtersOf(await near.read(at, longestHeader)))
        if (filter === 'LZMA2') seen.need({ format: 'xz', kind: 'xz', what: 'xz', where })
        else need(filter, `xz with the filter ${filter}`)
    end = begin
  }
  if (streams === 0) throw damaged('its end is missing')
}

/** Where the blocks of the stream that ends at `end` are, and where it begins. */
async function readIndex(
  source: Source,
  end: number,
  footer: Buffer,
  seen: Seen,
  depth: number,
): Promise<{ blocks: number[]; begin: number }> {
  const size = (footer.readUInt32LE(4) + 1) * 4
  const start = end - edgeBytes - size
  if (start < edgeBytes) throw damaged('its index is longer than it is')
  const { heldBytes } = seen.limits
  if (size > heldBytes) throw tooMuchToHold(heldBytes)
  const index = await source.read(start, size)
  if (index[0] !== 0) throw damaged('its index is not where its end says')
  const numbers = numbersIn(index, 1, 'its index')
  const sizes: number[] = []
  for (let left = numbers.next(); left > 0; left--) {
    await seen.member(depth)
    // Blocks are padded to four bytes; how much comes out of them is the next number.
    sizes.push(Math.ceil(numbers.next() / 4) * 4)
    numbers.next()
  }
  const begin = start - sizes.reduce((sum, one) => sum + one, 0) - edgeBytes
  if (begin < 0 || !(await source.read(begin, magic.length)).equals(magic))
    throw damaged('its index names other blocks than there are')
  let at = begin + edgeBytes
  const blocks = sizes.map((one) => (at += one) - one)
  return { blocks, begin }
}

/** Numbers of seven bits a byte, the lowest first, one after the other; and bytes that are passed over. */
function numbersIn(bytes: Buffer, start: number, what: string) {
  let at = start
  return {
    next(): number {
      let value = 0
      for (let shift = 0; shift < 63; shift += 7) {
        const byte = bytes[at++]
        if (byte === undefined) throw damaged(`${what} is damaged`)
        value += (byte & 0x7f) * 2 ** shift
        if (byte < 0x80) break
      }
      return value
    },
    skip(length: number): void {
      at += length
    },
  }
}

function filtersOf(block: Buffer): string[] {
  if ((block[0] ?? 0) === 0) throw damaged('a block has no header')
  const flags = block[1] ?? 0
  const numbers = numbersIn(block, 2, 'a block header')
  // Two sizes that may be named.
  for (const flag of [0x40, 0x80]) if (flags & flag) numbers.next()
  return Array.from({ length: (flags & 3) + 1 }, () => {
    const id = numbers.next()
    numbers.skip(numbers.next())
    return filters.get(id) ?? `0x${id.toString(16)}`
  })
}
