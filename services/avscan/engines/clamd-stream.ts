// One object through one session: INSTREAM, frames, end mark, finding. The end mark is what makes clamd judge,
// so it is sent only when every byte of the object has been.
import type { Finding } from './engine.ts'
import { ClamdError, findingInReply } from './clamd-replies.ts'
import type { ClamdSession } from './clamd-session.ts'

export interface StreamOptions {
  keepAliveMs: number
  /** longest wait for the finding after the last byte */
  timeoutMs: number
}

const frameBytes = 256 * 1024
const command = Buffer.from('zINSTREAM\0')
const endMark = Buffer.alloc(4)

export class ClamdStream {
  readonly #session: ClamdSession
  readonly #size: number
  readonly #options: StreamOptions
  #reply: Promise<Finding> | undefined
  #held: Buffer | undefined
  #taken = 0
  #complete = false

  constructor(session: ClamdSession, size: number, options: StreamOptions) {
    this.#session = session
    this.#size = size
    this.#options = options
  }

  async write(chunk: Buffer): Promise<void> {
    this.#assertOpen()
    this.#taken += chunk.length
    if (this.#taken > this.#size) throw this.#fail(`more than the ${this.#size} bytes announced`)
    for (let at = 0; at < chunk.length; at += frameBytes) {
      // The last frame is always held back: it leaves together with the end mark, a small object in one write.
      if (this.#held !== undefined) await this.#session.send(this.#frame())
      this.#held = chunk.subarray(at, at + frameBytes)
    }
  }

  async end(): Promise<Finding> {
    this.#assertOpen()
    if (this.#taken !== this.#size) throw this.#fail(`${this.#taken} of ${this.#size} bytes`)
    const last = [...this.#frame(), endMark]
    this.#complete = true
    const { pongs } = this.#session
    const timer = setTimeout(() => {
      // One that answers beside it is well: the object is what takes so long.
      const kind = this.#session.pongs > pongs ? 'too-long' : 'timeout'
      const message = `no finding within ${this.#options.timeoutMs} ms`
      this.#session.fail(new ClamdError(kind, message))
    }, this.#options.timeoutMs)
    let pings: NodeJS.Timeout | undefined
    try {
      await this.#session.send(last)
      pings = setInterval(() => this.#session.keepAlive(), this.#options.keepAliveMs)
      const finding = await this.#reply
      if (finding === undefined) throw this.#fail('no command was sent')
      return finding
    } finally {
      clearTimeout(timer)
      clearInterval(pings)
    }
  }

  #assertOpen(): void {
    if (this.#session.failure) throw this.#session.failure
    if (this.#complete) throw new Error('the object is already complete')
  }

  #fail(detail: string): Error {
    const error = new ClamdError('incomplete', `the object is not what was announced: ${detail}`)
    this.#session.fail(error)
    return error
  }

  /** What is held, as one frame, behind the command if that has not been sent yet. */
  #frame(): Buffer[] {
    const parts: Buffer[] = []
    if (this.#reply === undefined) {
      this.#reply = this.#session.begin().reply.then((reply) => this.#judge(reply))
      this.#reply.catch(() => undefined)
      parts.push(command)
    }
    if (this.#held !== undefined) {
      const length = Buffer.allocUnsafe(4)
      length.writeUInt32BE(this.#held.length)
      parts.push(length, this.#held)
    }
    this.#held = undefined
    return parts
  }

  #judge(reply: string): Finding {
    try {
      const finding = findingInReply(reply)
      if (this.#complete) return finding
      throw new ClamdError('protocol', 'clamd judged an object that it did not have yet')
    } catch (error) {
      // Also tells a writer that waits for room; the session is of no use after an error.
      this.#session.fail(error as Error)
      throw error
    }
  }
}

/** Judges bytes at hand. */
export async function scanBytes(
  session: ClamdSession,
  bytes: Buffer,
  options: StreamOptions,
): Promise<Finding> {
  const stream = new ClamdStream(session, bytes.length, options)
  await stream.write(bytes)
  return stream.end()
}
