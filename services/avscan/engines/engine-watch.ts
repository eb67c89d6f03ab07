// Whether an engine works at all, as its operator should hear of it: one line when an outage begins, one when it is over,
// and the same to whoever stops or resumes the work. It knows addresses only by their breakers.
import { describeError, EngineUnavailableError } from '../../shared/errors.ts'
import type { Log } from '../../shared/log.ts'
import type { Breaker } from './breaker.ts'
import type { AddressState, EngineEvents, EngineInfo } from './engine.ts'

/** What is known about one address. */
export interface Watched {
  readonly label: string
  readonly breaker: Breaker
  canary: boolean | undefined
  info: EngineInfo | undefined
}

export const noEvents: EngineEvents = {
  failed: () => undefined,
  down: () => undefined,
  up: () => undefined,
  signatures: () => undefined,
}

export class EngineWatch {
  readonly #name: string
  readonly #log: Log
  readonly #events: EngineEvents
  #downSince: Date | undefined
  #downAt = 0

  constructor(name: string, log: Log, events: EngineEvents) {
    this.#name = name
    this.#log = log
    this.#events = events
  }

  failed(address: Watched, error: Error): void {
    const { breaker, label } = address
    this.#log.debug('an engine address failed', { address: label, breaker: breaker.state, error })
    this.#events.failed(this.#name)
  }

  down(error: Error): void {
    if (this.#downSince !== undefined) return
    this.#downSince = new Date()
    this.#downAt = performance.now()
    this.#log.warn('the engine cannot be used', { engine: this.#name, error })
    this.#events.down(this.#name, error)
  }

  /**
   * `begunAt`: of performance.now(). What began before the outage and came to a good end does not end it, nor what began before the
   * address was given up: it is left alone all the same.
   */
  up(begunAt: number, { breaker }: Watched): void {
    const since = this.#downSince
    if (since === undefined || begunAt < this.#downAt || !breaker.usable) return
    this.#downSince = undefined
    const outageMs = Date.now() - since.getTime()
    this.#log.info('the engine works again', { engine: this.#name, outageMs })
    this.#events.up(this.#name, since)
  }

  /** Takes note of what a canary at `address` was judged by. */
  judgesBy(address: Watched, info: EngineInfo): void {
    const before = address.info?.signatureVersion
    address.canary = true
    address.info = info
    if (info.signatureVersion !== before) this.#events.signatures(this.#name)
  }
}

/** Why none of `addresses` may serve; undefined when one may. */
export function outageOf(
  name: string,
  addresses: readonly Watched[],
): EngineUnavailableError | undefined {
  if (addresses.length === 0 || addresses.some(({ breaker }) => breaker.usable)) return undefined
  const each = addresses.map((one) => {
    const { reason, until } = stateOf(one)
    return `${one.label} (${reason ?? 'unknown'}; ${until === undefined ? 'is being tried again' : `left alone until ${until}`})`
  })
  return new EngineUnavailableError(`no address of ${name} can be used: ${each.join(', ')}`)
}

export function stateOf({ label, breaker, canary, info }: Watched): AddressState {
  const { state, lastError, waitMs } = breaker
  return {
    address: label,
    breaker: state,
    canary,
    ...(info === undefined ? {} : { signatureVersion: info.signatureVersion }),
    ...(lastError === undefined ? {} : { reason: describeError(lastError) }),
    ...(waitMs === 0 ? {} : { until: new Date(Date.now() + waitMs).toISOString() }),
  }
}
