// One object as a multipart POST /v2/scan with its exact length, and the answer to it. The closing boundary is sent
// only when every byte of the object has been: clamav-rest takes whatever it got until then for the whole.
import { randomBytes } from 'node:crypto'
import { PassThrough } from 'node:stream'
import type { Dispatcher } from 'undici'
import { toError } from '../../shared/errors.ts'
import type { Finding } from './engine.ts'
import { ClamavRestError, findingInAnswer, partName } from './clamav-rest-replies.ts'

export interface StreamOptions {
  timeoutMs: number
  stallMs: number
}

const longestAnswer = 65_536

export class ClamavRestStream {
  readonly #size: number
  readonly #options: StreamOptions
  readonly #body = new PassThrough({ highWaterMark: 256 * 1024 })
  readonly #tail: Buffer
  readonly #finding: Promise<Finding>
  readonly #failed: Promise<never>
  #reject: (error: Error) => void = () => undefined
  #failure: Error | undefined
  #taken = 0
  #complete = false

  constructor(client: Dispatcher, size: number, options: StreamOptions) {
    this.#size = size
    this.#options = options
    const boundary = `avscan-${randomBytes(24).toString('hex')}`
    const head = Buffer.from(
      `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="${partName}"\r\n` +
        'content-type: application/octet-stream\r\n\r\n',
    )
    this.#tail = Buffer.from(`\r\n--${boundary}--\r\n`)
    this.#failed = new Promise((_, reject) => (this.#reject = reject))
    this.#failed.catch(() => undefined)
    this.#body.on('error', (error) => this.abort(error))
    this.#body.write(head)
    this.#finding = this.#post(client, boundary, head.length + size + this.#tail.length)
    this.#finding.catch((error: unknown) => this.abort(toError(error)))
  }

  async write(chunk: Buffer): Promise<void> {
    this.#assertOpen()
    this.#taken += chunk.length
    if (this.#taken > this.#size)
      throw this.#incomplete(`more than the ${this.#size} bytes announced`)
    // A copy: nothing tells when undici has done with it.
    if (this.#body.write(Buffer.from(chunk))) return
    await this.#within(this.#options.stallMs, 'clamav-rest took no bytes', (resolve) =>
      this.#body.once('drain', resolve),
    )
  }

  async end(): Promise<Finding> {
    this.#assertOpen()
    if (this.#taken !== this.#size) throw this.#incomplete(`${this.#taken} of ${this.#size} bytes`)
    this.#complete = true
    this.#body.end(this.#tail)
    return this.#within(this.#options.timeoutMs, 'clamav-rest gave no finding', (resolve) => {
      this.#finding.then(resolve, () => undefined)
    })
  }

  /** Cuts the connection: a request without its end has no answer. */
  abort(error: Error): void {
    if (this.#failure) return
    this.#failure = error
    this.#reject(error)
    this.#body.destroy(error)
  }

  async #post(client: Dispatcher, boundary: string, length: number): Promise<Finding> {
    const response = await client.request({
      path: '/v2/scan',
      method: 'POST',
      headers: {
        'content-type': `multipart/form-data; boundary=${boundary}`,
        'content-length': String(length),
      },
      body: this.#body,
    })
    const text = await readText(response.body)
    if (!this.#complete)
      throw new ClamavRestError(
        `clamav-rest answered ${response.statusCode} before it had the whole object`,
      )
    return findingInAnswer(response.statusCode, text)
  }

  async #within<T = void>(
    ms: number,
    what: string,
    start: (resolve: (value: T) => void) => void,
  ): Promise<T> {
    const timer = setTimeout(() => this.abort(new ClamavRestError(`${what} for ${ms} ms`)), ms)
    try {
      return await Promise.race([new Promise<T>(start), this.#failed])
    } finally {
      clearTimeout(timer)
    }
  }

  #assertOpen(): void {
    if (this.#failure) throw this.#failure
    if (this.#complete) throw new Error('the object is already complete')
  }

  #incomplete(detail: string): Error {
    const error = new Error(`the object is not what was announced: ${detail}`)
    this.abort(error)
    return error
  }
}

/** A body that must be short. */
export async function readText(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of body) {
    bytes += part.length
    if (bytes > longestAnswer)
      throw new ClamavRestError('clamav-rest sent an answer without an end')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}
