// How a stream of a PDF is packed, in as many layers as it says.
import { constants, inflateSync } from 'node:zlib'
import { damaged } from './seen.ts'

type Undo = (bytes: Buffer, most: number) => Buffer

const filters: Record<string, Undo> = {
  FlateDecode: (bytes, maxOutputLength) =>
    inflateSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength }),
  ASCIIHexDecode: (bytes) => {
    const digits = bytes
      .toString('latin1')
      .replace(/>[^]*$/, '')
      .replaceAll(/[^\dA-Fa-f]/g, '')
    return Buffer.from(digits.length % 2 === 0 ? digits : `${digits}0`, 'hex')
  },
  ASCII85Decode: ascii85,
  RunLengthDecode: runLength,
}

const short: Record<string, string> = {
  Fl: 'FlateDecode',
  AHx: 'ASCIIHexDecode',
  A85: 'ASCII85Decode',
  RL: 'RunLengthDecode',
  LZW: 'LZWDecode',
}

/** The filters of a stream, each time that its dictionary says it; nothing, where it says none. */
export function chainsIn(dictionary: string): string[][] {
  const said = [...dictionary.matchAll(/\/Filter\s*(\[[^\]]*\]?|\/[^\s/[\]<>()]+|\d+)/g)]
  return said.length === 0
    ? [[]]
    : said.map(([, value = '']) =>
        /^\d/.test(value)
          ? ['Filter that stands elsewhere']
          : [...value.matchAll(/\/([^\s/[\]<>()]+)/g)].map(([, name = '']) => short[name] ?? name),
      )
}

/**
 * The bytes as they were; `filter`: the first that cannot be undone here. @throws CannotLookError where it fails and `isStrict`.
 */
export function undo(
  packed: Buffer,
  chain: readonly string[],
  dictionary: string,
  most: number,
  isStrict: boolean,
): { bytes?: Buffer; filter?: string } {
  let bytes = packed
  for (const name of chain) {
    // What it encrypts is in the document's own dictionary, and without a name it is nothing.
    if (name === 'Crypt') continue
    const filter = filters[name]
    if (filter === undefined) return { filter: name }
    try {
      bytes = filter(bytes, most)
      if (name === 'FlateDecode') bytes = unpredicted(bytes, dictionary)
    } catch {
      if (isStrict) throw damaged('an attached file cannot be unpacked')
      return {}
    }
  }
  return { bytes }
}

/** Undoes a predictor of PNG: each row says in its first byte what was taken away from it. */
function unpredicted(bytes: Buffer, dictionary: string): Buffer {
  const number = (name: string, usual: number) =>
    Number(new RegExp(`/${name}\\s+(\\d{1,6})`).exec(dictionary)?.[1] ?? usual)
  if (number('Predictor', 1) < 10) return bytes
  const bits = number('Colors', 1) * number('BitsPerComponent', 8)
  const row = Math.ceil((bits * number('Columns', 1)) / 8)
  const left = Math.ceil(bits / 8)
  const out = Buffer.alloc(Math.ceil((bytes.length / (row + 1)) * row))
  let to = 0
  for (let from = 0; from < bytes.length; from += row + 1) {
    const kind = bytes[from] ?? 0
    for (let at = 0; at < row && from + 1 + at < bytes.length; at++, to++) {
      const a = at >= left ? (out[to - left] ?? 0) : 0
      const b = to >= row ? (out[to - row] ?? 0) : 0
      const c = at >= left && to >= row ? (out[to - row - left] ?? 0) : 0
      out[to] = (bytes[from + 1 + at] ?? 0) + ([0, a, b, (a + b) >> 1, paeth(a, b, c)][kind] ?? 0)
    }
  }
  return out.subarray(0, to)
}

function paeth(a: number, b: number, c: number): number {
  const [toA, toB, toC] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)]
  if (toA <= toB && toA <= toC) return a
  return toB <= toC ? b : c
}

function ascii85(bytes: Buffer, most: number): Buffer {
  // A `z` is four zeros, and five others are four bytes.
  const out = Buffer.alloc(Math.min(most, bytes.length * 4) + 4)
  let [to, value, count] = [0, 0, 0]
  for (let at = bytes.indexOf('<~') === 0 ? 2 : 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0
    if (byte === 0x7e) break
    if (to > most) throw new Error('too much')
    if (byte === 0x7a && count === 0) to += 4
    if (byte < 0x21 || byte > 0x75) continue
    value = value * 85 + byte - 0x21
    if (++count < 5) continue
    to = out.writeUInt32BE(value % 2 ** 32, to)
    ;[value, count] = [0, 0]
  }
  if (count < 2) return out.subarray(0, to)
  for (let left = count; left < 5; left++) value = value * 85 + 84
  out.writeUInt32BE(value % 2 ** 32, to)
  return out.subarray(0, to + count - 1)
}

function runLength(bytes: Buffer, most: number): Buffer {
  const parts: Buffer[] = []
  let size = 0
  for (let at = 0; at < bytes.length && bytes[at] !== 128;) {
    const length = bytes[at] ?? 0
    const part =
      length < 128
        ? bytes.subarray(at + 1, at + 2 + length)
        : Buffer.alloc(257 - length, bytes[at + 1])
    at += length < 128 ? length + 2 : 2
    size += part.length
    if (size > most) throw new Error('too much')
    parts.push(part)
  }
  return Buffer.concat(parts)
}
