// One object on its way: written at the store's pace, read at each engine's pace while it still arrives.
import { randomUUID } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Source } from './formats/source.ts'
import { errorCode, NoSpaceError } from '../shared/errors.ts'

/** What is written, and read, at a time. */
export const chunkBytes = 256 * 1024

// One chunk goes into the page cache and is gone again in 0.02 ms. On the way through the thread pool the same four calls cost 0.2 ms
// and more of CPU, a tenth of all that a small object takes; what is larger could keep everything else waiting, and goes there.
const direct = {
  open: fs.openSync,
  write: fs.writeSync,
  read: fs.readSync,
  close: fs.closeSync,
  unlink: fs.unlinkSync,
}
const pooled = {
  open: promisify(fs.open),
  write: async (...args: WriteArguments) => (await promisify(fs.write)(...args)).bytesWritten,
  read: async (...args: WriteArguments) => (await promisify(fs.read)(...args)).bytesRead,
  close: promisify(fs.close),
  unlink: promisify(fs.unlink),
}
type WriteArguments = [fd: number, buffer: Buffer, offset: number, length: number, position: number]

export class TempFile {
  readonly path: string
  readonly #fd: number
  readonly #size: number
  readonly #calls: typeof direct | typeof pooled
  #written = 0
  #ended = false
  #failure: Error | undefined
  /** The end of the object, still in memory: a small one is never read from the file. */
  #last: Buffer | undefined
  #progress = Promise.withResolvers<void>()

  private constructor(path: string, fd: number, size: number) {
    this.path = path
    this.#fd = fd
    this.#size = size
    this.#calls = callsFor(size)
  }

  /** A file with a random name and mode 0600, for so many bytes. The caller removes it. */
  static async create(folder: string, size: number): Promise<TempFile> {
    const path = join(folder, randomUUID())
    const fd = await noSpace(0, () => callsFor(size).open(path, 'wx+', 0o600))
    return new TempFile(path, fd, size)
  }

  /** The buffer may be used again, but the last one of all belongs to the file. @throws NoSpaceError when the file system is full. */
  async append(chunk: Buffer): Promise<void> {
    for (let offset = 0; offset < chunk.length;) {
      const rest = chunk.length - offset
      offset += await noSpace(chunk.length, () =>
        this.#calls.write(this.#fd, chunk, offset, rest, this.#written + offset),
      )
    }
    this.#written += chunk.length
    if (this.#written === this.#size) this.#last = chunk
    this.#wake()
  }

  /** Everything has been appended. */
  end(): void {
    this.#ended = true
    this.#wake()
  }

  /** No reader gets to the end. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#wake()
  }

  /**
   * The bytes from the beginning, waiting for those to come; throws what `fail` was told. A chunk is overwritten when the
   * one after the next is asked for.
   */
  async *chunks(): AsyncGenerator<Buffer> {
    // In turn: an engine's stream may still hold the chunk before.
    const buffers: Buffer[] = []
    for (let [position, turn] = [0, 0]; ;) {
      if (this.#failure !== undefined) throw this.#failure
      if (position < this.#written) {
        const isLast = this.#last !== undefined && position === this.#size - this.#last.length
        const chunk = isLast
          ? (this.#last as Buffer)
          : await this.#read(position, (buffers[turn++ % 2] ??= Buffer.allocUnsafeSlow(chunkBytes)))
        position += chunk.length
        yield chunk
      } else if (this.#ended) return
      else await this.#progress.promise
    }
  }

  /** What was received, once all of it is there. */
  source(): Source {
    return {
      path: this.path,
      size: this.#size,
      read: (at, length) => {
        const last = this.#last ?? Buffer.alloc(0)
        const from = at - (this.#size - last.length)
        return from >= 0 ? last.subarray(from, from + length) : this.#copy(at, length)
      },
    }
  }

  async remove(): Promise<void> {
    this.fail(new Error('the temporary file is gone'))
    await this.#calls.close(this.#fd)
    await this.#calls.unlink(this.path)
  }

  async #read(position: number, buffer: Buffer): Promise<Buffer> {
    const length = Math.min(buffer.length, this.#written - position)
    const bytesRead = await this.#calls.read(this.#fd, buffer, 0, length, position)
    if (bytesRead === 0) throw new Error(`${this.path} is shorter than what was written to it`)
    return buffer.subarray(0, bytesRead)
  }

  async #copy(at: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(Math.max(0, Math.min(length, this.#size - at)))
    for (let filled = 0; filled < buffer.length;)
      filled += (await this.#read(at + filled, buffer.subarray(filled))).length
    return buffer
  }

  #wake(): void {
    this.#progress.resolve()
    this.#progress = Promise.withResolvers()
  }
}

const callsFor = (size: number) => (size <= chunkBytes ? direct : pooled)

async function noSpace<T>(bytes: number, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new NoSpaceError('the scan folder is full', bytes, { cause: error })
    throw error
  }
}
