// Bytes that can be read at any place: the received file, a part of it, or what was unpacked into memory.
import { setImmediate } from 'node:timers/promises'

export interface Source {
  /** Where the whole of it lies as a file. */
  readonly path?: string
  readonly size: number
  /** Up to `length` bytes at `at`; fewer only at the end. */
  read(at: number, length: number): Buffer | Promise<Buffer>
}

const placesInARow = 1000
/** How much is read at a time where everything is read. */
const windowBytes = 256 * 1024

export function bytesOf(bytes: Buffer): Source {
  return { size: bytes.length, read: (at, length) => bytes.subarray(at, at + length) }
}

/** A file that is read once, for its parts are asked for again and again. Larger ones stay where they are. */
export async function held(source: Source): Promise<Source> {
  if (source.size > heldBytes) return source
  return { ...source, ...bytesOf(await source.read(0, source.size)) }
}

/** For each object that is looked at, so no more than a few MiB of a worker. */
const heldBytes = 1024 ** 2

/** `size` bytes of `source` from `start` on; cut where the source ends. */
export function rangeOf(source: Source, start: number, size: number): Source {
  const end = Math.max(start, Math.min(source.size, start + size))
  return {
    size: end - start,
    read: (at, length) => source.read(start + at, Math.max(0, Math.min(length, end - start - at))),
  }
}

/** Reads small steps out of one big read: for whoever goes through a directory. */
export function windowed(source: Source): Source {
  let start = 0
  let held: Buffer = Buffer.alloc(0)
  return {
    size: source.size,
    async read(at, length) {
      if (at < start || at + length > start + held.length) {
        held = await source.read(at, Math.max(length, 64 * 1024))
        start = at
      }
      return held.subarray(at - start, at - start + length)
    },
  }
}

/** All of it from `at` on, in order. */
export async function* chunksOf(source: Source, at = 0): AsyncGenerator<Buffer> {
  while (at < source.size) {
    const chunk = await source.read(at, windowBytes)
    if (chunk.length === 0) return
    at += chunk.length
    yield chunk
  }
}

/** Where `needle` begins, from `at` on; every place of it. @throws the signal's reason. */
export async function* placesOf(
  source: Source,
  needle: Buffer,
  signal: AbortSignal,
  at = 0,
): AsyncGenerator<number> {
  let count = 0
  while (at + needle.length <= source.size) {
    const chunk = await source.read(at, windowBytes)
    if (chunk.length < needle.length) return
    for (let place = chunk.indexOf(needle); place >= 0; place = chunk.indexOf(needle, place + 1)) {
      // A file can be made of nothing else, and what is in memory needs no waiting.
      if (++count % placesInARow === 0) await setImmediate()
      signal.throwIfAborted()
      yield at + place
    }
    signal.throwIfAborted()
    at += chunk.length - needle.length + 1
  }
}
