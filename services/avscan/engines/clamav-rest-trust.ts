// By which signatures clamav-rest judges, and whether its canary passed under them: asked before and after every scan, and
// while one runs.
import type { Dispatcher } from 'undici'
import { describeError, EngineUnavailableError } from '../../shared/errors.ts'
import { tlsProblem } from '../../shared/trust.ts'
import { ClamavRestError, versionInAnswer } from './clamav-rest-replies.ts'
import { ClamavRestStream, readText, type StreamOptions } from './clamav-rest-stream.ts'
import { engineInfoOf } from './clamd-replies.ts'
import { runCanary, type EngineInfo, type Finding } from './engine.ts'

export interface TrustOptions extends StreamOptions {
  /** its version at least this often */
  lookMs: number
  /** the canary at least this often, for sets whose version never changes */
  canaryMs: number
  /** how often it has to say its version while it scans */
  keepAliveMs: number
  signatureSet?: EngineInfo['signatureSet'] | undefined
}

export interface Trusted {
  info: EngineInfo
  /** in the engine's own words, to compare */
  version: string
}

/** How often the canary is run again because the signatures changed under it. */
const canaryTries = 3

export class RestTrust {
  readonly #client: Dispatcher
  readonly #label: string
  readonly #options: TrustOptions
  readonly #passed: (info: EngineInfo) => void
  #version: string | undefined
  #lookedAt = -Infinity
  #canaryAt = -Infinity
  #trusting: Promise<Trusted> | undefined

  /** `passed` hears of each canary that passed. */
  constructor(
    client: Dispatcher,
    label: string,
    options: TrustOptions,
    passed: (info: EngineInfo) => void,
  ) {
    this.#client = client
    this.#label = label
    this.#options = options
    this.#passed = passed
  }

  /** What a scan may begin under; several that ask share one answer. @throws EngineUnavailableError */
  trusted(): Promise<Trusted> {
    this.#trusting ??= this.#trust().finally(() => (this.#trusting = undefined))
    return this.#trusting
  }

  /** The next answer needs a canary. */
  renew(): void {
    this.#canaryAt = -Infinity
  }

  /** The next answer needs a look at the version. */
  lookAgain(): void {
    this.#lookedAt = -Infinity
  }

  async look(): Promise<string> {
    const version = await this.#ask()
    this.#lookedAt = performance.now()
    return version
  }

  /** While it scans it must still say its version: nobody waits `timeoutMs` for one that hangs. */
  async answerOf(stream: ClamavRestStream): Promise<Finding> {
    let isAsking = false
    const ask = async () => {
      if (isAsking) return
      isAsking = true
      try {
        await this.#ask()
      } catch (cause) {
        stream.abort(new ClamavRestError('clamav-rest went silent while it scanned', { cause }))
      } finally {
        isAsking = false
      }
    }
    const timer = setInterval(() => void ask(), this.#options.keepAliveMs)
    try {
      return await stream.end()
    } finally {
      clearInterval(timer)
    }
  }

  async #trust(): Promise<Trusted> {
    const { lookMs, canaryMs, signatureSet } = this.#options
    let version = this.#version
    if (version === undefined || performance.now() - this.#lookedAt >= lookMs)
      version = await this.look()
    if (version !== this.#version || performance.now() - this.#canaryAt >= canaryMs)
      version = await this.#canary(version)
    return { info: engineInfoOf(version, signatureSet), version }
  }

  async #canary(asked: string): Promise<string> {
    this.#version = undefined
    let version = asked
    for (let left = canaryTries; left > 0; left--) {
      // Throws when there is no usable set at all.
      const info = engineInfoOf(version, this.#options.signatureSet)
      await this.#asUnavailable('scan the canary', () =>
        runCanary(this.#label, (bytes) => this.#scan(bytes)),
      )
      const now = await this.look()
      if (now === version) {
        this.#version = version
        this.#canaryAt = performance.now()
        this.#passed(info)
        return version
      }
      version = now
    }
    throw new EngineUnavailableError(`${this.#label} changed its signatures during the canary`)
  }

  async #ask(): Promise<string> {
    return this.#asUnavailable('ask for its version', async () => {
      const response = await this.#client.request({
        path: '/version',
        method: 'GET',
        signal: AbortSignal.timeout(this.#options.stallMs),
      })
      return versionInAnswer(response.statusCode, await readText(response.body))
    })
  }

  async #scan(bytes: Buffer): Promise<Finding> {
    const stream = new ClamavRestStream(this.#client, bytes.length, this.#options)
    await stream.write(bytes)
    return this.answerOf(stream)
  }

  async #asUnavailable<T>(what: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (error) {
      if (error instanceof EngineUnavailableError) throw error
      throw unavailable(this.#label, what, error)
    }
  }
}

/** `error` in plain words: what could not be done at `label`. */
export function unavailable(label: string, what: string, error: unknown): EngineUnavailableError {
  const reason = tlsProblem(error) ?? describeError(error)
  return new EngineUnavailableError(`${label}: ${what}: ${reason}`, { cause: error })
}
