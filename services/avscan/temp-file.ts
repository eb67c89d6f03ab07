// One object on its way: written at the store's pace, read at each engine's pace while it still arrives.
import { randomUUID } from 'node:crypto'
import { open, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode, NoSpaceError } from '../shared/errors.ts'

const readBytes = 256 * 1024

export class TempFile {
  readonly path: string
  readonly #handle: FileHandle
  #written = 0
  #ended = false
  #failure: Error | undefined
  /** The newest chunk, still in memory: who keeps pace never reads the file. */
  #newest: { start: number; bytes: Buffer } = { start: 0, bytes: Buffer.alloc(0) }
  #progress = Promise.withResolvers<void>()

  private constructor(path: string, handle: FileHandle) {
    this.path = path
    this.#handle = handle
  }

  /** A file with a random name and mode 0600. The caller removes it. */
  static async create(folder: string): Promise<TempFile> {
    const path = join(folder, randomUUID())
    return new TempFile(path, await noSpace(0, () => open(path, 'wx+', 0o600)))
  }

  /** The buffer belongs to the file from now on. @throws NoSpaceError when the file system is full. */
  async append(chunk: Buffer): Promise<void> {
    for (let offset = 0; offset < chunk.length;) {
      const { bytesWritten } = await noSpace(chunk.length, () =>
        this.#handle.write(chunk, offset, chunk.length - offset, this.#written + offset),
      )
      offset += bytesWritten
    }
    this.#newest = { start: this.#written, bytes: chunk }
    this.#written += chunk.length
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

  /** The bytes from the beginning, waiting for those to come; throws what `fail` was told. */
  async *chunks(): AsyncGenerator<Buffer> {
    for (let position = 0; ;) {
      if (this.#failure !== undefined) throw this.#failure
      if (position < this.#written) {
        const chunk = await this.#read(position)
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

  async #read(position: number): Promise<Buffer> {
    const { start, bytes } = this.#newest
    if (position === start) return bytes
    const buffer = Buffer.allocUnsafe(Math.min(readBytes, this.#written - position))
    const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, position)
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
