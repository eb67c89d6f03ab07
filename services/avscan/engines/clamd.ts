// The clamd engine: a pool of sessions, and the rule that a verdict counts only under a VERSION whose canary passed
// on the very session that gives it. VERSION is asked again after every finding: what was judged while it changed is
// judged again.
import {
  describeError,
  EngineUnavailableError,
  errorCode,
  RetryLaterError,
  toError,
} from '../../shared/errors.ts'
import type { Log } from '../../shared/log.ts'
import { engineInfoOf } from './clamd-replies.ts'
import { ClamdSession } from './clamd-session.ts'
import { ClamdStream, scanBytes } from './clamd-stream.ts'
import { ClamdPool, type Address, type PoolOptions } from './clamd-pool.ts'
import {
  runCanary,
  tooLarge,
  type Engine,
  type EngineInfo,
  type Finding,
  type ScanStream,
} from './engine.ts'

export interface ClamdOptions extends PoolOptions {
  maxBytes: number
  timeoutMs: number
  stallMs: number
  /** what the set is called, whatever VERSION suggests */
  signatureSet?: EngineInfo['signatureSet'] | undefined
  connectMs?: number
  keepAliveMs?: number
  /** an idle session is reopened after this: clamd cuts it after ReadTimeout */
  idleMs?: number
  /** VERSION at least this often */
  lookMs?: number
  /** the canary at least this often, for sets whose VERSION never changes */
  canaryMs?: number
}

export function createClamd(options: ClamdOptions, log: Log): Engine {
  return new Clamd(options, log)
}

class Clamd implements Engine {
  readonly name = 'clamd'
  info: EngineInfo | undefined
  readonly #options: Required<Omit<ClamdOptions, 'signatureSet' | 'resolve'>> & ClamdOptions
  readonly #pool: ClamdPool
  readonly #sessions = new Set<ClamdSession>()
  readonly #log: Log
  readonly #sweep: NodeJS.Timeout

  constructor(options: ClamdOptions, log: Log) {
    this.#options = {
      connectMs: 5_000,
      keepAliveMs: 10_000,
      idleMs: 15_000,
      lookMs: 1_000,
      canaryMs: 10_000,
      ...options,
    }
    this.#pool = new ClamdPool(options)
    this.#log = log
    this.#sweep = setInterval(() => this.#endIdle(), this.#options.idleMs / 3).unref()
  }

  async open(size: number, signal: AbortSignal): Promise<ScanStream> {
    if (size > this.#options.maxBytes) return tooLarge(this, size, this.#options.maxBytes)
    const tried = new Set<Address>()
    let first: Error | undefined
    for (;;) {
      const address = await this.#take(tried, signal)
      if (address === undefined) throw first ?? new EngineUnavailableError('clamd has no address')
      try {
        const session = await this.#session(address, signal)
        return this.#guard(address, session, size, signal)
      } catch (error) {
        this.#pool.giveBack(address)
        signal.throwIfAborted()
        address.failedAt = performance.now()
        tried.add(address)
        first ??= toError(error)
        this.#log.debug('clamd cannot be used', { address: address.label, error: first })
      }
    }
  }

  async probe(signal: AbortSignal): Promise<EngineInfo> {
    const addresses = await this.#resolved(() => this.#pool.addresses())
    const answers = await Promise.allSettled(
      addresses.map(async (address) => {
        const session = await this.#connect(address, signal)
        const info = await this.#trust(address, session, signal)
        this.#drop(session)
        address.failedAt = -Infinity
        return info
      }),
    )
    signal.throwIfAborted()
    for (const answer of answers) if (answer.status === 'fulfilled') return answer.value
    throw answers.find((answer) => answer.status === 'rejected')?.reason
  }

  close(): Promise<void> {
    clearInterval(this.#sweep)
    for (const session of this.#sessions) session.fail(new Error('the engine was closed'))
    this.#sessions.clear()
    return Promise.resolve()
  }

  async #take(tried: ReadonlySet<Address>, signal: AbortSignal): Promise<Address | undefined> {
    return this.#resolved(() => this.#pool.take(tried, signal), signal)
  }

  async #resolved<T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await action()
    } catch (error) {
      signal?.throwIfAborted()
      throw new EngineUnavailableError(`find clamd: ${describeError(error)}`, { cause: error })
    }
  }

  /** A session that may judge now: reused if one is fresh, otherwise new. */
  async #session(address: Address, signal: AbortSignal): Promise<ClamdSession> {
    for (let kept = address.idle.pop(); kept; kept = address.idle.pop()) {
      if (kept.dead) continue
      try {
        await this.#trust(address, kept, signal)
        return kept
      } catch (error) {
        kept.fail(toError(error))
        // A connection that clamd has given up says nothing about clamd; a failing canary does.
        if (kept.canaryAt === -Infinity) throw error
      }
    }
    const session = await this.#connect(address, signal)
    await this.#trust(address, session, signal)
    return session
  }

  async #connect(address: Address, signal: AbortSignal): Promise<ClamdSession> {
    try {
      const session = await ClamdSession.connect(address.target, this.#options, signal)
      this.#sessions.add(session)
      return session
    } catch (error) {
      signal.throwIfAborted()
      const hint =
        errorCode(error) === 'ENOENT'
          ? ' (the socket appears when clamd has loaded its signatures)'
          : ''
      const where = `connect to clamd at ${address.label}`
      throw new EngineUnavailableError(`${where}: ${describeError(error)}${hint}`, { cause: error })
    }
  }

  /** Looks at VERSION when the last look is old, and runs the canary when VERSION is new or the last canary is old. */
  async #trust(address: Address, session: ClamdSession, signal: AbortSignal): Promise<EngineInfo> {
    const { lookMs, canaryMs, signatureSet } = this.#options
    const aborted = () => session.fail(toError(signal.reason))
    signal.addEventListener('abort', aborted)
    try {
      let version = session.version
      if (version === undefined || performance.now() - session.lookedAt >= lookMs)
        version = await session.ask('VERSION')
      const info = engineInfoOf(version, signatureSet)
      if (version !== session.version || performance.now() - session.canaryAt >= canaryMs) {
        session.canaryAt = -Infinity
        await runCanary(`clamd at ${address.label}`, (bytes) =>
          scanBytes(session, bytes, this.#options),
        )
        if ((await session.ask('VERSION')) !== version)
          throw new EngineUnavailableError(
            `clamd at ${address.label} changed its signatures during the canary`,
          )
        session.version = version
        session.canaryAt = performance.now()
      }
      session.lookedAt = performance.now()
      this.info = info
      return info
    } catch (error) {
      session.fail(toError(error))
      this.#sessions.delete(session)
      signal.throwIfAborted()
      if (error instanceof EngineUnavailableError) throw error
      throw new EngineUnavailableError(`ask clamd at ${address.label}: ${describeError(error)}`, {
        cause: error,
      })
    } finally {
      signal.removeEventListener('abort', aborted)
    }
  }

  /** The caller's stream: takes the look after the finding, and gives the place back exactly once. */
  #guard(address: Address, session: ClamdSession, size: number, signal: AbortSignal): ScanStream {
    const stream = new ClamdStream(session, size, this.#options)
    let held = true
    const giveBack = () => {
      if (!held) return
      held = false
      signal.removeEventListener('abort', aborted)
      if (session.dead || !this.#pool.knows(address)) this.#drop(session)
      else address.idle.push(session)
      this.#pool.giveBack(address)
    }
    const abort = (error: Error) => {
      if (held) session.fail(error)
      giveBack()
    }
    const aborted = () => abort(toError(signal.reason))
    signal.addEventListener('abort', aborted)
    const orAbort = async <T>(action: Promise<T>): Promise<T> => {
      try {
        return await action
      } catch (error) {
        abort(toError(error))
        throw error
      }
    }
    const info = engineInfoOf(session.version ?? '', this.#options.signatureSet)
    return {
      by: { name: this.name, info },
      write: (chunk) => orAbort(stream.write(chunk)),
      end: async () => {
        const finding = await orAbort(this.#finish(address, session, stream, signal))
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
    const finding = await stream.end()
    if ((await session.ask('VERSION')) !== session.version)
      throw new RetryLaterError('the signatures of clamd changed while it scanned', {
        delayMs: 1_000,
      })
    session.lookedAt = performance.now()
    // A set of one's own has no number to change: after a long scan only the canary tells.
    await this.#trust(address, session, signal)
    return finding
  }

  #drop(session: ClamdSession): void {
    this.#sessions.delete(session)
    session.end()
  }

  #endIdle(): void {
    for (const session of this.#sessions) {
      if (session.dead) this.#sessions.delete(session)
    }
    const oldest = performance.now() - this.#options.idleMs
    for (const { idle } of this.#pool.known)
      for (const session of idle.filter((one) => one.dead || one.lookedAt < oldest)) {
        idle.splice(idle.indexOf(session), 1)
        this.#drop(session)
      }
  }
}
