// One connection to clamd in IDSESSION: commands out, replies matched by their id, and one end for everything:
// whatever goes wrong destroys the connection and rejects what waits on it. It knows no pool and no verdict.
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { ClamdError, failureInReply } from './clamd-replies.ts'

export interface SessionOptions {
  connectMs: number
  /** longest wait until bytes have left, and for the answer to a command that is answered at once */
  stallMs: number
}

interface Waiting {
  resolve: (reply: string) => void
  reject: (error: Error) => void
}

const longestReply = 65_536

export class ClamdSession {
  /** what VERSION said under the canary that passed last */
  version: string | undefined
  lookedAt = -Infinity
  canaryAt = -Infinity
  readonly #socket: Socket
  readonly #options: SessionOptions
  readonly #isTcp: boolean
  /** How often PING was answered. */
  pongs = 0
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 0
  #text = ''
  #failure: Error | undefined
  #isAsking = false
  #isLetterAhead = false
  #pong: NodeJS.Timeout | undefined
  #leaving: PromiseWithResolvers<void> | undefined

  private constructor(socket: Socket, options: SessionOptions) {
    this.#socket = socket
    this.#options = options
    this.#isTcp = socket.remoteAddress !== undefined
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => this.#receive(text))
    socket.on('end', () => this.fail(this.#closed()))
    socket.on('error', (error) =>
      this.fail(new ClamdError('closed', `clamd: ${error.message}`, { cause: error })),
    )
    socket.on('close', () => this.fail(this.#closed()))
  }

  /** Rejects with the socket's own error (ENOENT, ECONNREFUSED, EAGAIN …): nothing has been sent then. */
  static async connect(
    target: NetConnectOpts,
    options: SessionOptions,
    signal: AbortSignal,
  ): Promise<ClamdSession> {
    signal.throwIfAborted()
    // Without noDelay, Nagle and delayed acknowledgements hold small objects back for 40 ms each over TCP.
    const socket = connect({ ...target, noDelay: true } as NetConnectOpts)
    const cancelled = () =>
      socket.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
    const timer = setTimeout(
      () => socket.destroy(new Error(`no connection within ${options.connectMs} ms`)),
      options.connectMs,
    )
    signal.addEventListener('abort', cancelled)
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
        socket.once('close', () => reject(new Error('closed while connecting')))
      })
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', cancelled)
    }
    const session = new ClamdSession(socket, options)
    socket.write('zIDSESSION\0')
    return session
  }

  get dead(): boolean {
    return this.#failure !== undefined
  }

  get failure(): Error | undefined {
    return this.#failure
  }

  /** Sends the beginning of a command; its reply comes when it comes. The id is clamd's count of our commands. */
  begin(): { id: number; reply: Promise<string> } {
    const id = ++this.#lastId
    const reply = new Promise<string>((resolve, reject) => {
      if (this.#failure) reject(this.#failure)
      else this.#waiting.set(id, { resolve, reject })
    })
    // Whoever is still sending learns of the failure from `send`; this must not count as unhandled meanwhile.
    reply.catch(() => undefined)
    return { id, reply }
  }

  /** One corked write; resolves when every byte has left: the buffers may be used again. One sender at a time. */
  async send(parts: readonly Buffer[]): Promise<void> {
    if (this.#failure) throw this.#failure
    const leaving = Promise.withResolvers<void>()
    this.#write(parts, leaving.resolve)
    if (this.#socket.writableLength === 0) return
    this.#leaving = leaving
    const timer = setTimeout(
      () =>
        this.fail(new ClamdError('stall', `clamd took no bytes for ${this.#options.stallMs} ms`)),
      this.#options.stallMs,
    )
    try {
      await leaving.promise
    } finally {
      this.#leaving = undefined
      clearTimeout(timer)
    }
  }

  /** A command that clamd answers at once, whatever it is scanning. */
  async ask(command: 'PING' | 'VERSION'): Promise<string> {
    const { reply } = this.begin()
    const timer = setTimeout(
      () =>
        this.fail(
          new ClamdError('timeout', `no answer to ${command} within ${this.#options.stallMs} ms`),
        ),
      this.#options.stallMs,
    )
    try {
      await this.send([Buffer.from(`z${command}\0`)])
      this.#isAsking = true
      return await reply
    } finally {
      this.#isAsking = false
      clearTimeout(timer)
    }
  }

  /**
   * PING: a session that is silent for ReadTimeout loses its scan. clamd answers it at once, whatever it is scanning; one
   * that does not within `stallMs` hangs.
   */
  keepAlive(): void {
    if (this.#failure || this.#pong !== undefined) return
    const { stallMs } = this.#options
    this.#pong = setTimeout(
      () => this.fail(new ClamdError('timeout', `no answer to PING within ${stallMs} ms`)),
      stallMs,
    )
    const resolve = (reply: string) => {
      clearTimeout(this.#pong)
      this.#pong = undefined
      this.pongs++
      if (reply !== 'PONG') this.fail(failureInReply(reply))
    }
    this.#waiting.set(++this.#lastId, { resolve, reject: () => undefined })
    this.#write([Buffer.from('zPING\0')])
  }

  /** Destroys the connection: clamd drops a stream that has no end, and everything waiting here rejects. */
  fail(error: Error): void {
    if (this.#failure) return
    this.#failure = error
    clearTimeout(this.#pong)
    this.#socket.destroy()
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
    this.#leaving?.reject(error)
  }

  /** Leaves politely; only when nothing is waiting. */
  end(): void {
    if (this.#failure) return
    this.#failure = new ClamdError('closed', 'the session was ended')
    clearTimeout(this.#pong)
    this.#socket.end(this.#isLetterAhead ? 'END\0' : 'zEND\0')
    this.#socket.setTimeout(this.#options.connectMs, () => this.#socket.destroy())
    this.#socket.unref()
  }

  /**
   * Over TCP clamd sends the id of VERSION and its text as two segments; Nagle keeps the second until the first is
   * acknowledged, and the kernel acknowledges after 40 ms unless there is something to send. So the first letter of
   * the next command is sent ahead: it has no answer that would be kept in the same way.
   */
  #nudge(): void {
    this.#isLetterAhead = true
    this.#socket.write('z')
  }

  #write(parts: readonly Buffer[], left?: () => void): void {
    const skip = this.#isLetterAhead ? 1 : 0
    this.#isLetterAhead = false
    const done = (error?: Error | null) => {
      if (!error) left?.()
    }
    this.#socket.cork()
    for (const [index, part] of parts.entries())
      this.#socket.write(
        index === 0 ? part.subarray(skip) : part,
        index === parts.length - 1 ? done : undefined,
      )
    this.#socket.uncork()
  }

  #closed(): Error {
    const rest = this.#text === '' ? '' : ` after ${JSON.stringify(this.#text.slice(0, 200))}`
    return new ClamdError('closed', `clamd closed the connection${rest}`)
  }

  #receive(text: string): void {
    if (this.#failure) return
    this.#text += text
    // It has no id, ends in a newline, and a false `OK` may follow it in the same packet.
    if (this.#text.includes('COMMAND READ TIMED OUT')) return this.fail(failureInReply(this.#text))
    for (let at = this.#text.indexOf('\0'); at >= 0 && !this.dead; at = this.#text.indexOf('\0')) {
      const line = this.#text.slice(0, at)
      this.#text = this.#text.slice(at + 1)
      this.#accept(line)
    }
    const mayNudge = this.#isTcp && this.#isAsking && !this.#isLetterAhead
    if (this.#text !== '' && !this.#failure && mayNudge) this.#nudge()
    if (this.#text.length > longestReply)
      this.fail(new ClamdError('protocol', 'clamd sent a reply without an end'))
  }

  #accept(line: string): void {
    const match = /^([1-9]\d{0,9}): (.*)$/s.exec(line)
    const waiting = match ? this.#waiting.get(Number(match[1])) : undefined
    if (!match || !waiting) {
      // `stream: OK` for nobody is as wrong as any other line.
      const plain = failureInReply(line)
      return this.fail(
        match
          ? new ClamdError(
              'protocol',
              `clamd answered nobody: ${JSON.stringify(line.slice(0, 200))}`,
            )
          : plain,
      )
    }
    this.#waiting.delete(Number(match[1]))
    waiting.resolve(match[2] ?? '')
  }
}
