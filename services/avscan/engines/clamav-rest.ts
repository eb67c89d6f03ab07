// The clamav-rest engine: https, one multipart request per object, and the same rule as for clamd: a verdict counts
// only under a version whose canary passed, and the version is asked again after every finding.
import { Pool } from 'undici'
import {
  describeError,
  EngineUnavailableError,
  errorCode,
  RetryLaterError,
  toError,
} from '../../shared/errors.ts'
import { tlsProblem, trustedCas } from '../../shared/trust.ts'
import { versionInAnswer } from './clamav-rest-replies.ts'
import { ClamavRestStream, readText } from './clamav-rest-stream.ts'
import { engineInfoOf } from './clamd-replies.ts'
import {
  runCanary,
  tooLarge,
  type Engine,
  type EngineInfo,
  type Finding,
  type ScanStream,
} from './engine.ts'
import { Places } from './places.ts'

export interface ClamavRestOptions {
  host: string
  port: number
  /** PEM file with the CA of our own; empty: the public ones */
  ca: string
  connections: number
  maxBytes: number
  timeoutMs: number
  stallMs: number
  signatureSet?: EngineInfo['signatureSet'] | undefined
  connectMs?: number
  lookMs?: number
  canaryMs?: number
}

/** Errors of a connection that never came to be: nothing was sent over it. */
const neverConnected = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])

interface Trusted {
  info: EngineInfo
  /** in the engine's own words, to compare */
  version: string
}

export function createClamavRest(options: ClamavRestOptions): Engine {
  return new ClamavRest(options)
}

class ClamavRest implements Engine {
  readonly name = 'clamav-rest'
  info: EngineInfo | undefined
  readonly #options: ClamavRestOptions & { lookMs: number; canaryMs: number }
  readonly #label: string
  readonly #client: Pool
  readonly #places = new Places()
  readonly #closing = new AbortController()
  #busy = 0
  #version: string | undefined
  #lookedAt = -Infinity
  #canaryAt = -Infinity
  #trusting: Promise<Trusted> | undefined

  constructor(options: ClamavRestOptions) {
    this.#options = { lookMs: 1_000, canaryMs: 10_000, ...options }
    this.#label = `clamav-rest at ${options.host}:${options.port}`
    const host = options.host.includes(':') ? `[${options.host}]` : options.host
    const ca = trustedCas(options.ca)
    this.#client = new Pool(`https://${host}:${options.port}`, {
      // Over HTTP/2, which undici takes where it is offered, an upload that is given up sends Node into an endless
      // native loop that eats all memory.
      allowH2: false,
      // Two more, so that a look or a probe never waits for a scan.
      connections: options.connections + 2,
      connect: { timeout: options.connectMs ?? 5_000, ...(ca === undefined ? {} : { ca }) },
      // The stream has its own limits; undici's would also count the time of a slow upload.
      headersTimeout: 0,
      bodyTimeout: options.stallMs,
    })
  }

  async open(size: number, signal: AbortSignal): Promise<ScanStream> {
    if (size > this.#options.maxBytes) return tooLarge(this, size, this.#options.maxBytes)
    const either = AbortSignal.any([signal, this.#closing.signal])
    while (this.#busy >= this.#options.connections) await this.#places.wait(either)
    this.#busy++
    try {
      const { version, info } = await this.#trusted()
      either.throwIfAborted()
      return this.#guard(size, version, info, either)
    } catch (error) {
      this.#giveBack()
      throw error
    }
  }

  async probe(signal: AbortSignal): Promise<EngineInfo> {
    signal.throwIfAborted()
    this.#canaryAt = -Infinity
    const { info } = await this.#trusted()
    signal.throwIfAborted()
    return info
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the engine was closed'))
    await this.#client.destroy()
  }

  #trusted(): Promise<Trusted> {
    this.#trusting ??= this.#trust().finally(() => (this.#trusting = undefined))
    return this.#trusting
  }

  async #trust(): Promise<Trusted> {
    const { lookMs, canaryMs } = this.#options
    let version = this.#version
    if (version === undefined || performance.now() - this.#lookedAt >= lookMs)
      version = await this.#look()
    const info = engineInfoOf(version, this.#options.signatureSet)
    if (version !== this.#version || performance.now() - this.#canaryAt >= canaryMs) {
      this.#version = undefined
      await this.#asUnavailable('scan the canary', () =>
        runCanary(this.#label, (bytes) => this.#scan(bytes)),
      )
      if ((await this.#look()) !== version)
        throw new EngineUnavailableError(`${this.#label} changed its signatures during the canary`)
      this.#version = version
      this.#canaryAt = performance.now()
    }
    this.info = info
    return { info, version }
  }

  async #look(): Promise<string> {
    return this.#asUnavailable('ask for its version', async () => {
      const response = await this.#client.request({
        path: '/version',
        method: 'GET',
        signal: AbortSignal.timeout(this.#options.stallMs),
      })
      const version = versionInAnswer(response.statusCode, await readText(response.body))
      this.#lookedAt = performance.now()
      return version
    })
  }

  async #scan(bytes: Buffer): Promise<Finding> {
    const stream = new ClamavRestStream(this.#client, bytes.length, this.#options)
    await stream.write(bytes)
    return stream.end()
  }

  #guard(size: number, version: string, info: EngineInfo, signal: AbortSignal): ScanStream {
    const stream = new ClamavRestStream(this.#client, size, this.#options)
    let held = true
    const giveBack = () => {
      if (!held) return
      held = false
      signal.removeEventListener('abort', aborted)
      this.#giveBack()
    }
    const abort = (error: Error) => {
      if (held) stream.abort(error)
      giveBack()
    }
    const aborted = () => abort(toError(signal.reason))
    signal.addEventListener('abort', aborted)
    const orAbort = async <T>(action: Promise<T>): Promise<T> => {
      try {
        return await action
      } catch (error) {
        const known = this.#whetherSent(toError(error))
        abort(known)
        // Whatever happened, the next scan looks before it sends.
        this.#lookedAt = -Infinity
        throw known
      }
    }
    return {
      by: { name: this.name, info },
      write: (chunk) => orAbort(stream.write(chunk)),
      end: async () => {
        const finding = await orAbort(this.#finish(stream, version))
        giveBack()
        return finding
      },
      abort,
    }
  }

  async #finish(stream: ClamavRestStream, version: string): Promise<Finding> {
    const finding = await stream.end()
    if ((await this.#look()) !== version)
      throw new RetryLaterError('the signatures of clamav-rest changed while it scanned', {
        delayMs: 1_000,
      })
    await this.#trusted()
    return finding
  }

  #giveBack(): void {
    this.#busy--
    this.#places.freed()
  }

  async #asUnavailable<T>(what: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (error) {
      if (error instanceof EngineUnavailableError) throw error
      throw this.#unavailable(what, error)
    }
  }

  #whetherSent(error: Error): Error {
    const before = neverConnected.has(errorCode(error) ?? '') || tlsProblem(error) !== undefined
    return before && !(error instanceof EngineUnavailableError)
      ? this.#unavailable('connect', error)
      : error
  }

  #unavailable(what: string, error: unknown): EngineUnavailableError {
    const reason = tlsProblem(error) ?? describeError(error)
    return new EngineUnavailableError(`${this.#label}: ${what}: ${reason}`, { cause: error })
  }
}
