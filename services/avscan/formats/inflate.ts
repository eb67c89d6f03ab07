// Deflate: raw, as zip and gzip have it, or in zlib.
import { Readable } from 'node:stream'
import {
  createInflateRaw,
  inflateRawSync,
  type Inflate,
  type InflateRaw,
  type ZlibOptions,
} from 'node:zlib'
import { errorCode } from '../../shared/errors.ts'
import { damaged, type Seen } from './seen.ts'
import { chunksOf, type Source } from './source.ts'

/** Each chunk takes a turn of its own on the thread pool. */
const chunkSize = 64 * 1024

/** All that comes out of `bytes`, and how many of them it was. @throws what zlib throws. */
export function inflateAtOnce(
  bytes: Buffer,
  options: ZlibOptions,
): { unpacked: Buffer; packed: number } {
  // The types of Node do not know what `info` makes of the answer.
  const { buffer, engine } = inflateRawSync(bytes, { ...options, info: true }) as unknown as {
    buffer: Buffer
    engine: InflateRaw
  }
  return { unpacked: buffer, packed: engine.bytesWritten }
}

/** What unpacks from `at` on; returns how many packed bytes it was. @throws CannotLookError where it is damaged or cut. */
export async function* inflated(
  source: Source,
  at: number,
  seen: Seen,
  inflate: InflateRaw | Inflate = createInflateRaw({ chunkSize }),
): AsyncGenerator<Buffer, number> {
  const input = Readable.from(chunksOf(source, at))
  // Each may fail once more while it is taken down, and nobody listens then.
  input.on('error', (error) => inflate.destroy(error))
  inflate.on('error', () => undefined)
  input.pipe(inflate)
  try {
    for await (const chunk of inflate as AsyncIterable<Buffer>) {
      seen.unpacked(chunk.length)
      yield chunk
    }
    return inflate.bytesWritten
  } catch (error) {
    if (errorCode(error)?.startsWith('Z_') !== true) throw error
    throw damaged('its data is damaged or cut')
  } finally {
    input.destroy()
    inflate.destroy()
  }
}
