// One engine address's circuit breaker: after `failures` failures in a row it is left alone for `openMs`; then one try at a
// time goes through, and after `successes` of them in a row all do. A pure state machine: its clock is given to it.

export type BreakerState = 'closed' | 'half-open' | 'open'

export interface BreakerOptions {
  failures: number
  openMs: number
  successes: number
}

/** One scan or canary under way at the address. What is told first counts, and only if it still concerns the present state. */
export interface Trial {
  succeeded(): void
  /** The address failed: refused, silent, cut off, nonsense. */
  failed(error: Error): void
  /** It says nothing about the address: given up by the caller, or the object's own trouble. */
  dropped(): void
}

export const defaultBreaker: BreakerOptions = { failures: 5, openMs: 30_000, successes: 3 }

export class Breaker {
  readonly #options: BreakerOptions
  readonly #now: () => number
  #state: BreakerState = 'closed'
  #failures = 0
  #successes = 0
  #until = 0
  #lastError: Error | undefined
  /** Counts changes of state: a try that was begun before the last one does not decide about the present state. */
  #generation = 0
  #isTrying = false

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(options: BreakerOptions, now: () => number = () => performance.now()) {
    this.#options = options
    this.#now = now
  }

  get state(): BreakerState {
    return this.#state === 'open' && this.waitMs === 0 ? 'half-open' : this.#state
  }

  /** It may serve: closed, or half-open and a try has gone well already. */
  get usable(): boolean {
    return this.#state === 'closed' || this.#successes > 0
  }

  /** A try may begin now. */
  get free(): boolean {
    return this.state === 'closed' || (this.state === 'half-open' && !this.#isTrying)
  }

  /** Milliseconds until it may be tried again. */
  get waitMs(): number {
    return this.#state === 'open' ? Math.max(0, this.#until - this.#now()) : 0
  }

  /** Of the last failure; undefined when it has worked since. */
  get lastError(): Error | undefined {
    return this.#lastError
  }

  /** In the half-open state it takes the only place there is until the trial is told how it ended. @throws Error unless `free`. */
  begin(): Trial {
    if (!this.free) throw new Error('the breaker lets nothing through')
    if (this.#state === 'open') this.#enter('half-open')
    if (this.#state === 'half-open') this.#isTrying = true
    const generation = this.#generation
    let isTold = false
    const tell = (action: () => void) => {
      if (isTold) return
      isTold = true
      if (generation !== this.#generation) return
      this.#isTrying = false
      action()
    }
    return {
      succeeded: () => tell(() => this.#succeeded()),
      failed: (error) => tell(() => this.#failed(error)),
      dropped: () => tell(() => undefined),
    }
  }

  /** Opens at once, whatever it was: answers were wrong. */
  trip(error: Error): void {
    this.#lastError = error
    this.#until = this.#now() + this.#options.openMs
    this.#enter('open')
  }

  #succeeded(): void {
    this.#failures = 0
    if (this.#state === 'half-open' && ++this.#successes >= this.#options.successes)
      this.#enter('closed')
    if (this.#state === 'closed') this.#lastError = undefined
  }

  #failed(error: Error): void {
    this.#lastError = error
    if (this.#state === 'half-open' || ++this.#failures >= this.#options.failures) this.trip(error)
  }

  #enter(state: BreakerState): void {
    this.#state = state
    this.#generation++
    this.#isTrying = false
    this.#failures = 0
    this.#successes = 0
  }
}
