// The clamav-rest engine: https, one multipart request per object, and the same rule as for clamd: a verdict counts
// only under a version whose canary passed, and the version is asked again after every finding.
import { Pool } from 'undici'
import {
  EngineUnavailableError,
  errorCode,
  OutageError,
  RetryLaterError,
  toError,
} from '../../shared/errors.ts'
import type { Log } from '../../shared/log.ts'
import { tlsProblem, trustedCas } from '../../shared/trust.ts'
import { Breaker, defaultBreaker, type BreakerOptions, type Trial } from './breaker.ts'
import { ClamavRestError } from './clamav-rest-replies.ts'
import { ClamavRestStream } from './clamav-rest-stream.ts'
import { RestTrust, unavailable, type Trusted, type TrustOptions } from './clamav-rest-trust.ts'
import { EngineWatch, noEvents, outageOf, stateOf, type Watched } from './engine-watch.ts'
import {
  reservedPlaces,
  tooLarge,
  WrongAnswersError,
  type AddressState,
  type Engine,
  type EngineEvents,
  type EngineInfo,
  type Finding,
  type ScanStream,
} from './engine.ts'
import { Places } from './places.ts'

export interface ClamavRestOptions {
  name?: string
  host: string
  port: number
  /** PEM file with the CA of our own; empty: the public ones */
  ca: string
  connections: number
  breaker?: BreakerOptions
  maxBytes: number
  timeoutMs: number
  stallMs: number
  signatureSet?: EngineInfo['signatureSet'] | undefined
  connectMs?: number
  lookMs?: number
  canaryMs?: number
  keepAliveMs?: number
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

export function createClamavRest(options: ClamavRestOptions, log: Log, events = noEvents): Engine {
  return new ClamavRest(options, log, events)
}

class ClamavRest implements Engine {
  readonly name: string
  info: EngineInfo | undefined
  readonly #options: ClamavRestOptions & TrustOptions
  /** One for whatever the host resolves to: a pool of connections shows us no more. */
  readonly #address: Watched
  readonly #watch: EngineWatch
  readonly #label: string
  readonly #client: Pool
  readonly #trust: RestTrust
  readonly #places = new Places()
  readonly #closing = new AbortController()
  #busy = 0

  constructor(options: ClamavRestOptions, log: Log, events: EngineEvents) {
    this.name = options.name ?? 'clamav-rest'
    const keepAliveMs = Math.min(10_000, options.stallMs)
    this.#options = { lookMs: 1_000, canaryMs: 10_000, keepAliveMs, ...options }
    this.#watch = new EngineWatch(this.name, log, events)
    this.#label = `clamav-rest at ${options.host}:${options.port}`
    const host = options.host.includes(':') ? `[${options.host}]` : options.host
    this.#address = {
      label: `${host}:${options.port}`,
      breaker: new Breaker(options.breaker ?? defaultBreaker),
      canary: undefined,
      info: undefined,
    }
    const ca = trustedCas(options.ca)
    this.#client = new Pool(`https://${host}:${options.port}`, {
      // Over HTTP/2, which undici takes where it is offered, an upload that is given up sends Node into an endless
      // native loop that eats all memory.
      allowH2: false,
      // Two more, so that a look or a probe never waits for a scan.
      connections: options.connections + reservedPlaces + 2,
      connect: { timeout: options.connectMs ?? 5_000, ...(ca === undefined ? {} : { ca }) },
      // The stream has its own limits; undici's would also count the time of a slow upload.
      headersTimeout: 0,
      bodyTimeout: options.stallMs,
    })
    this.#trust = new RestTrust(this.#client, this.#label, this.#options, (info) => {
      this.info = info
      this.#watch.judgesBy(this.#address, info)
    })
  }

  get addresses(): AddressState[] {
    return [stateOf(this.#address)]
  }

  get places(): number {
    return this.#options.connections
  }

  get outage(): Error | undefined {
    return outageOf(this.name, [this.#address])
  }

  async open(size: number, signal: AbortSignal): Promise<ScanStream> {
    if (size > this.#options.maxBytes) return tooLarge(this, size, this.#options.maxBytes)
    const either = AbortSignal.any([signal, this.#closing.signal])
    const { breaker } = this.#address
    while (this.#busy >= this.#options.connections + reservedPlaces || !breaker.free) {
      if (!breaker.free && !breaker.usable) throw this.#down()
      await this.#places.wait(either)
    }
    this.#busy++
    const trial = breaker.begin()
    try {
      const trusted = await this.#trust.trusted()
      either.throwIfAborted()
      return this.#guard(size, trusted, trial, either)
    } catch (error) {
      if (either.aborted) trial.dropped()
      else this.#failed(trial, toError(error))
      this.#giveBack()
      if (!either.aborted) this.#down(toError(error))
      throw error
    }
  }

  async probe(signal: AbortSignal): Promise<EngineInfo> {
    signal.throwIfAborted()
    const { breaker } = this.#address
    // A scan that is being tried where others have worked since is no outage.
    if (!breaker.free)
      throw breaker.usable
        ? new EngineUnavailableError(`${this.#label} is being tried already`)
        : this.#down()
    const begunAt = performance.now()
    const trial = breaker.begin()
    this.#trust.renew()
    try {
      const { info } = await this.#trust.trusted()
      trial.succeeded()
      this.#watch.up(begunAt, this.#address)
      signal.throwIfAborted()
      return info
    } catch (error) {
      if (!signal.aborted && !this.#closing.signal.aborted) {
        this.#failed(trial, toError(error))
        this.#down(toError(error))
      } else trial.dropped()
      throw error
    } finally {
      this.#places.freed()
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the engine was closed'))
    await this.#client.destroy()
  }

  /** The service's own failure: told to its breaker, and when that opens, it is tried again in its time. */
  #failed(trial: Trial, error: Error): void {
    const { breaker } = this.#address
    trial.failed(error)
    if (error instanceof WrongAnswersError) breaker.trip(error)
    this.#address.canary = false
    this.#watch.failed(this.#address, error)
    if (this.outage !== undefined) this.#down()
    if (breaker.state === 'open') this.#tryLater()
  }

  #tryLater(): void {
    const { signal } = this.#closing
    const { breaker } = this.#address
    setTimeout(() => {
      if (signal.aborted) return
      // It was opened anew meanwhile, or the timer was a little early.
      if (breaker.state === 'open') this.#tryLater()
      // Somebody else may be at it.
      else if (breaker.state === 'half-open' && breaker.free)
        this.probe(signal).catch(() => undefined)
    }, breaker.waitMs + 1).unref()
  }

  #down(error?: Error): Error {
    const why = this.outage ?? error ?? new EngineUnavailableError(`${this.#label} is away`)
    this.#watch.down(why)
    return why
  }

  #guard(size: number, { version, info }: Trusted, trial: Trial, signal: AbortSignal): ScanStream {
    const begunAt = performance.now()
    const stream = new ClamavRestStream(this.#client, size, this.#options)
    let held = true
    const giveBack = () => {
      if (!held) return
      held = false
      signal.removeEventListener('abort', aborted)
      this.#giveBack()
    }
    const abort = (error: Error) => {
      trial.dropped()
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
        if (held && !signal.aborted && isOfService(known)) this.#failed(trial, known)
        abort(known)
        // Whatever happened, the next scan looks before it sends.
        this.#trust.lookAgain()
        throw known
      }
    }
    return {
      by: { name: this.name, info },
      write: (chunk) => orAbort(stream.write(chunk)),
      end: async () => {
        const finding = await orAbort(this.#finish(stream, version))
        trial.succeeded()
        this.#watch.up(begunAt, this.#address)
        giveBack()
        return finding
      },
      abort,
    }
  }

  async #finish(stream: ClamavRestStream, version: string): Promise<Finding> {
    const finding = await this.#trust.answerOf(stream)
    if ((await this.#trust.look()) !== version)
      throw new RetryLaterError('the signatures of clamav-rest changed while it scanned', {
        delayMs: 1_000,
      })
    await this.#trust.trusted()
    return finding
  }

  #giveBack(): void {
    this.#busy--
    this.#places.freed()
  }

  #whetherSent(error: Error): Error {
    const before = neverConnected.has(errorCode(error) ?? '') || tlsProblem(error) !== undefined
    return before && !(error instanceof EngineUnavailableError)
      ? unavailable(this.#label, 'connect', error)
      : error
  }
}

function isOfService(error: Error): boolean {
  return (
    error instanceof ClamavRestError ||
    error instanceof OutageError ||
    errorCode(error) !== undefined
  )
}
