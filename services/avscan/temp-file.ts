// One object on its way: written at the store's pace, read at each engine's pace while it still arrives.
import { randomUUID } from 'node:crypto'
import { open, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode, NoSpaceError } from '../shared/errors.ts'

const readBytes = 256 * 1024

export class TempFile {
  readonly path: string
  readonly #handle: FileHandle
  readonly #size: number
  #written = 0
  #ended = false
  #failure: Error | undefined
  /** The end of the object, still in memory: a small one is never read from the file. */
  #last: Buffer | undefined
  #progress = Promise.withResolvers<void>()

  private constructor(path: string, handle: FileHandle, size: number) {
    this.path = path
    this.#handle = handle
    this.#size = size
  }

  /** A file with a random name and mode 0600, for so many bytes. The caller removes it. */
  static async create(folder: string, size: number): Promise<TempFile> {
    const path = join(folder, randomUUID())
    return new TempFile(path, await noSpace(0, () => open(path, 'wx+', 0o600)), size)
  }

  /** The buffer may be used again, but the last one of all belongs to the file. @throws NoSpaceError when the file system is full. */
  async append(chunk: Buffer): Promise<void> {
    for (let offset = 0; offset < chunk.length;) {
      const { bytesWritten } = await noSpace(chunk.length, () =>
        this.#handle.write(chunk, offset, chunk.length - offset, this.#written + offset),
      )
      offset += bytesWritten
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
          : await this.#read(position, (buffers[turn++ % 2] ??= Buffer.allocUnsafeSlow(readBytes)))
        position += chunk.length
        yield chunk
      } else if (this.#ended) return
      else await this.#progress.promise
    }
  }

  async remove(): Promise<void> {
    this.fail(new Error('the temporary file is gone'))
    await this.#handle.close()
    await unlink(this.path)
  }

  async #read(position: number, buffer: Buffer): Promise<Buffer> {
    const length = Math.min(buffer.length, this.#written - position)
    const { bytesRead } = await this.#handle.read(buffer, 0, length, position)
    if (bytesRead === 0) throw new Error(`${this.path} is shorter than what was written to it`)
    return buffer.subarray(0, bytesRead)
  }

  #wake(): void {
    this.#progress.resolve()
    this.#progress = Promise.withResolvers()
  }
}

async function noSpace<T>(bytes: number, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new NoSpaceError('the scan folder is full', bytes, { cause: error })
    throw error
  }
}
