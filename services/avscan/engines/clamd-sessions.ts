// Sessions that may judge: opened at an address, kept for the next scan, and trusted only while VERSION is the one under
// which their canary passed.
import { describeError, EngineUnavailableError, errorCode, toError } from '../../shared/errors.ts'
import type { Address } from './clamd-pool.ts'
import { ClamdError, engineInfoOf } from './clamd-replies.ts'
import { ClamdSession, type SessionOptions } from './clamd-session.ts'
import { scanBytes, type StreamOptions } from './clamd-stream.ts'
import { runCanary, WrongAnswersError, type EngineInfo } from './engine.ts'

export interface TrustOptions extends SessionOptions, StreamOptions {
  /** an idle session is reopened after this: clamd cuts it after ReadTimeout */
  idleMs: number
  /** VERSION at least this often */
  lookMs: number
  /** the canary at least this often, for sets whose VERSION never changes */
  canaryMs: number
  signatureSet?: EngineInfo['signatureSet'] | undefined
}

/** How often the canary is run again because the signatures changed under it. */
const canaryTries = 3

export class ClamdSessions {
  readonly #options: TrustOptions
  readonly #trusted: (address: Address, info: EngineInfo) => void
  readonly #all = new Map<ClamdSession, Address>()

  /** `trusted` hears of each canary that passed. */
  constructor(options: TrustOptions, trusted: (address: Address, info: EngineInfo) => void) {
    this.#options = options
    this.#trusted = trusted
  }

  /** One that may judge now: reused if one is fresh, otherwise new. @throws EngineUnavailableError and the signal's reason. */
  async take(address: Address, signal: AbortSignal): Promise<ClamdSession> {
    for (let kept = address.idle.pop(); kept; kept = address.idle.pop()) {
      if (kept.dead) continue
      try {
        await this.trust(address, kept, signal)
        return kept
      } catch (error) {
        // A connection that clamd has given up says nothing about clamd; silence or a failing canary does.
        const { cause } = toError(error)
        if (!(cause instanceof ClamdError) || cause.kind !== 'closed') throw error
      }
    }
    return this.open(address, signal)
  }

  /** A new one whose canary has passed. */
  async open(address: Address, signal: AbortSignal): Promise<ClamdSession> {
    let session: ClamdSession
    const { unknown } = address
    if (unknown !== undefined)
      throw new EngineUnavailableError(`find clamd: ${describeError(unknown)}`, { cause: unknown })
    try {
      session = await ClamdSession.connect(address.target, this.#options, signal)
    } catch (error) {
      signal.throwIfAborted()
      const hint =
        errorCode(error) === 'ENOENT'
          ? ' (the socket appears when clamd has loaded its signatures)'
          : ''
      const where = `connect to clamd at ${address.label}`
      throw new EngineUnavailableError(`${where}: ${describeError(error)}${hint}`, { cause: error })
    }
    this.#all.set(session, address)
    await this.trust(address, session, signal)
    return session
  }

  /** Looks at VERSION when the last look is old, and runs the canary when VERSION is new or the last canary is old. */
  async trust(address: Address, session: ClamdSession, signal: AbortSignal): Promise<void> {
    const aborted = () => session.fail(toError(signal.reason))
    signal.addEventListener('abort', aborted)
    try {
      let { version } = session
      if (version === undefined || performance.now() - session.lookedAt >= this.#options.lookMs)
        version = await session.ask('VERSION')
      if (
        version !== session.version ||
        performance.now() - session.canaryAt >= this.#options.canaryMs
      )
        await this.#canary(address, session, version)
      session.lookedAt = performance.now()
    } catch (error) {
      session.fail(toError(error))
      this.#all.delete(session)
      if (error instanceof WrongAnswersError) this.#distrust(address)
      signal.throwIfAborted()
      if (error instanceof EngineUnavailableError) throw error
      throw new EngineUnavailableError(`ask clamd at ${address.label}: ${describeError(error)}`, {
        cause: error,
      })
    } finally {
      signal.removeEventListener('abort', aborted)
    }
  }

  infoOf(session: ClamdSession): EngineInfo {
    return engineInfoOf(session.version ?? '', this.#options.signatureSet)
  }

  drop(session: ClamdSession): void {
    this.#all.delete(session)
    session.end()
  }

  endIdle(addresses: readonly Address[]): void {
    for (const session of this.#all.keys()) if (session.dead) this.#all.delete(session)
    const oldest = performance.now() - this.#options.idleMs
    for (const { idle } of addresses)
      for (const session of idle.filter((one) => one.dead || one.lookedAt < oldest)) {
        idle.splice(idle.indexOf(session), 1)
        this.drop(session)
      }
  }

  close(error: Error): void {
    for (const session of this.#all.keys()) session.fail(error)
    this.#all.clear()
  }

  async #canary(address: Address, session: ClamdSession, asked: string): Promise<void> {
    session.canaryAt = -Infinity
    let version = asked
    for (let left = canaryTries; left > 0; left--) {
      // Throws when there is no usable set at all.
      const info = engineInfoOf(version, this.#options.signatureSet)
      await runCanary(`clamd at ${address.label}`, (bytes) =>
        scanBytes(session, bytes, this.#options),
      )
      const now = await session.ask('VERSION')
      if (now === version) {
        session.version = version
        session.canaryAt = performance.now()
        this.#trusted(address, info)
        return
      }
      version = now
    }
    throw new EngineUnavailableError(
      `clamd at ${address.label} changed its signatures during the canary`,
    )
  }

  /** What is being judged there by the others must pass a canary of its own before it counts. */
  #distrust(address: Address): void {
    for (const [session, at] of this.#all) if (at === address) session.canaryAt = -Infinity
  }
}
