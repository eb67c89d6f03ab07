// zlib: Git keeps each of its objects so, browsers their cache. Engines do not open it, but they are handed what comes out.
import { createInflate } from 'node:zlib'
import { Cursor } from './cursor.ts'
import { inflated } from './inflate.ts'
import { much, type Seen } from './seen.ts'
import type { Source } from './source.ts'

/** In front of a file in Git; signatures are bound to where a file begins. */
const gitHeader = /^(?:blob|tree|commit|tag) \d{1,19}\0/

/** Calls `content` with what comes out; the engines have judged it then. @throws CannotLookError */
export async function lookIntoZlib(
  source: Source,
  seen: Seen,
  where: string,
  content: (bytes: Buffer) => Promise<void>,
): Promise<void> {
  const unopened = () => seen.need({ format: 'zlib', kind: 'zlib', what: 'zlib', where })
  const { judge } = seen
  if (judge === undefined) return unopened()
  let packed: number | undefined
  const cursor = new Cursor(
    (async function* () {
      packed = yield* inflated(source, 0, seen, createInflate())
    })(),
  )
  try {
    const most = seen.free
    const little = await cursor.peek(Math.min(much, most))
    await seen.holding(little.length < much ? little.length : most, async () => {
      const bytes = await cursor.take(most)
      // More than may be held, or something behind it that nobody has seen.
      if ((await cursor.peek(1)).length > 0 || packed !== source.size) return unopened()
      const header = gitHeader.exec(bytes.toString('latin1', 0, 32))?.[0] ?? ''
      const inner = bytes.subarray(header.length)
      if (inner.length > 0) await judge(inner, where)
      return content(inner)
    })
  } finally {
    await cursor.close()
  }
}
