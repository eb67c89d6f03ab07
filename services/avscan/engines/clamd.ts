// The clamd engine: places at its addresses, and the rule that a verdict counts only under a VERSION whose canary passed
// on the very session that gives it. VERSION is asked again after every finding: what was judged while it changed is
// judged again.
import {
  EngineUnavailableError,
  OutageError,
  RetryLaterError,
  toError,
} from '../../shared/errors.ts'
import type { Log } from '../../shared/log.ts'
import { ClamdPool, type Address, type Place, type PoolOptions } from './clamd-pool.ts'
import { ClamdError, type ClamdFailure } from './clamd-replies.ts'
import type { ClamdSession } from './clamd-session.ts'
import { ClamdSessions, type TrustOptions } from './clamd-sessions.ts'
import { ClamdStream } from './clamd-stream.ts'
import { EngineWatch, noEvents, outageOf, stateOf } from './engine-watch.ts'
import {
  reasons,
  tooLarge,
  WrongAnswersError,
  type AddressState,
  type Engine,
  type EngineEvents,
  type EngineInfo,
  type Finding,
  type ScanStream,
} from './engine.ts'

type Defaulted = 'connectMs' | 'keepAliveMs' | 'idleMs' | 'lookMs' | 'canaryMs'

export interface ClamdOptions
  extends PoolOptions, Omit<TrustOptions, Defaulted>, Partial<Pick<TrustOptions, Defaulted>> {
  name?: string
  maxBytes: number
}

/** What tells of the address; the rest is the object's own trouble, or ours. */
const addressFailures = new Set<ClamdFailure>(['closed', 'stall', 'timeout', 'protocol'])

export function createClamd(options: ClamdOptions, log: Log, events = noEvents): Engine {
  return new Clamd(options, log, events)
}

class Clamd implements Engine {
  readonly name: string
  info: EngineInfo | undefined
  readonly #options: ClamdOptions & TrustOptions
  readonly #pool: ClamdPool
  readonly #sessions: ClamdSessions
  readonly #watch: EngineWatch
  readonly #sweep: NodeJS.Timeout
  readonly #closing = new AbortController()
  readonly #later = new Set<Address>()

  constructor(options: ClamdOptions, log: Log, events: EngineEvents) {
    this.name = options.name ?? 'clamd'
    this.#options = {
      connectMs: 5_000,
      keepAliveMs: Math.min(10_000, options.stallMs),
      idleMs: 15_000,
      lookMs: 1_000,
      canaryMs: 10_000,
      ...options,
    }
    this.#pool = new ClamdPool(options)
    this.#watch = new EngineWatch(this.name, log, events)
    this.#sessions = new ClamdSessions(this.#options, (address, info) => {
      this.info = info
      this.#watch.judgesBy(address, info)
    })
    this.#sweep = setInterval(
      () => this.#sessions.endIdle(this.#pool.known),
      this.#options.idleMs / 3,
    ).unref()
  }

  get addresses(): AddressState[] {
    return this.#pool.known.map(stateOf)
  }

  get places(): number {
    return this.#pool.places
  }

  get outage(): Error | undefined {
    return outageOf(this.name, this.#pool.known)
  }

  async open(size: number, signal: AbortSignal): Promise<ScanStream> {
    if (size > this.#options.maxBytes) return tooLarge(this, size, this.#options.maxBytes)
    const tried = new Set<Address>()
    let first: Error | undefined
    for (;;) {
      const place = await this.#pool.take(tried, signal)
      if (place === undefined) throw this.#down(first)
      const { address, trial } = place
      try {
        const session = await this.#sessions.take(address, signal)
        return this.#guard(place, session, size, signal)
      } catch (error) {
        if (signal.aborted) trial.dropped()
        else this.#failed(place, toError(error))
        this.#pool.giveBack(address)
        signal.throwIfAborted()
        tried.add(address)
        first ??= toError(error)
      }
    }
  }

  async probe(signal: AbortSignal): Promise<EngineInfo> {
    const addresses = await this.#pool.addresses()
    const answers = await Promise.allSettled(addresses.map((address) => this.#try(address, signal)))
    signal.throwIfAborted()
    for (const answer of answers) if (answer.status === 'fulfilled') return answer.value
    const failed = answers.filter((answer) => answer.status === 'rejected')
    const error = this.outage ?? toError(failed[0]?.reason)
    // A scan is being tried at an address that has worked since: that is no outage.
    const isTrying = addresses.some(({ breaker }) => breaker.usable && !breaker.free)
    throw isTrying ? error : this.#down(error)
  }

  close(): Promise<void> {
    clearInterval(this.#sweep)
    const error = new Error('the engine was closed')
    this.#closing.abort(error)
    this.#sessions.close(error)
    return Promise.resolve()
  }

  /** The canary at one address, on a connection of its own. */
  async #try(address: Address, signal: AbortSignal): Promise<EngineInfo> {
    if (!address.breaker.free)
      throw this.outage ?? new EngineUnavailableError(`${address.label} is being tried already`)
    const begunAt = performance.now()
    const trial = address.breaker.begin()
    try {
      const session = await this.#sessions.open(address, signal)
      const info = this.#sessions.infoOf(session)
      this.#sessions.drop(session)
      trial.succeeded()
      this.#watch.up(begunAt, address)
      return info
    } catch (error) {
      if (signal.aborted) trial.dropped()
      else this.#failed({ address, trial }, toError(error))
      throw error
    } finally {
      this.#pool.changed()
    }
  }

  /** The address's own failure: told to its breaker, and when that opens, the address is tried again in its time. */
  #failed({ address, trial }: Place, error: Error): void {
    trial.failed(error)
    if (error instanceof WrongAnswersError) address.breaker.trip(error)
    address.canary = false
    this.#watch.failed(address, error)
    if (this.outage !== undefined) this.#down()
    if (address.breaker.state === 'open') this.#tryLater(address)
  }

  #tryLater(address: Address): void {
    const { signal } = this.#closing
    const { breaker } = address
    if (this.#later.has(address)) return
    this.#later.add(address)
    setTimeout(() => {
      this.#later.delete(address)
      if (signal.aborted || !this.#pool.knows(address)) return
      // It was opened anew meanwhile, or the timer was a little early.
      if (breaker.state === 'open') this.#tryLater(address)
      // Somebody else may be at it.
      else if (breaker.state === 'half-open' && breaker.free)
        this.#try(address, signal).catch(() => undefined)
    }, breaker.waitMs + 1).unref()
  }

  #down(error?: Error): Error {
    const why =
      error ?? this.outage ?? new EngineUnavailableError(`no address of ${this.name} is free`)
    this.#watch.down(why)
    return why
  }

  /** The caller's stream: takes the look after the finding, gives the place back and tells the trial exactly once. */
  #guard(place: Place, session: ClamdSession, size: number, signal: AbortSignal): ScanStream {
    const { address, trial } = place
    const begunAt = performance.now()
    const stream = new ClamdStream(session, size, this.#options)
    let held = true
    const giveBack = () => {
      if (!held) return
      held = false
      signal.removeEventListener('abort', aborted)
      if (session.dead || !this.#pool.knows(address)) this.#sessions.drop(session)
      else address.idle.push(session)
      this.#pool.giveBack(address)
    }
    const abort = (error: Error) => {
      trial.dropped()
      if (held) session.fail(error)
      giveBack()
    }
    const aborted = () => abort(toError(signal.reason))
    signal.addEventListener('abort', aborted)
    const orAbort = async <T>(action: Promise<T>): Promise<T> => {
      try {
        return await action
      } catch (thrown) {
        const error = toError(thrown)
        if (held && !signal.aborted && isOfAddress(error)) this.#failed(place, error)
        abort(error)
        throw error
      }
    }
    return {
      by: { name: this.name, info: this.#sessions.infoOf(session) },
      write: (chunk) => orAbort(stream.write(chunk)),
      end: async () => {
        const finding = await orAbort(this.#finish(address, session, stream, signal))
        trial.succeeded()
        this.#watch.up(begunAt, address)
        giveBack()
        return finding
      },
      abort,
    }
  }

  async #finish(
    address: Address,
    session: ClamdSession,
    stream: ClamdStream,
    signal: AbortSignal,
  ): Promise<Finding> {
    let finding: Finding
    try {
      finding = await stream.end()
    } catch (error) {
      if (!(error instanceof ClamdError) || error.kind !== 'too-long') throw error
      return { status: 'unscannable', reason: reasons.otherLimit, detail: error.message }
    }
    if ((await session.ask('VERSION')) !== session.version)
      throw new RetryLaterError('the signatures of clamd changed while it scanned', {
        delayMs: 1_000,
      })
    session.lookedAt = performance.now()
    // A set of one's own has no number to change: after a long scan only the canary tells.
    await this.#sessions.trust(address, session, signal)
    return finding
  }
}

function isOfAddress(error: Error): boolean {
  return error instanceof ClamdError
    ? addressFailures.has(error.kind)
    : error instanceof OutageError
}
