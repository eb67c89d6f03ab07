// How much of a worker bulk work (sweeps, re-scans) may take: what live work leaves, and at least 5 % of the time.
//
//   live work at its full concurrency   a backlog waits: bulk gets one scan for each 19 times as long of live work
//   live work, or some a moment ago     one bulk scan at a time, and a rest as long as it took, so that a live object
//                                       that comes meanwhile finds the engine nearly free
//   no live work for a while            as many as the worker has places
import { NotBegunError } from '../shared/errors.ts'

export interface ShareOptions {
  /** Live messages at a time. */
  concurrency: number
  /** Bulk has everything when nothing live has run for so long. */
  quietMs?: number
  now?: () => number
}

const liveParts = 19
/** What bulk may have saved up at most, in milliseconds of scanning. */
const mostCreditMs = 1000

export class Share {
  readonly #concurrency: number
  readonly #quietMs: number
  readonly #now: () => number
  #live = 0
  #bulk = 0
  #lastLiveAt = -Infinity
  #creditMs = 0
  #restUntil = -Infinity
  #waiting: (() => void)[] = []

  constructor({ concurrency, quietMs = 500, now = () => performance.now() }: ShareOptions) {
    this.#concurrency = concurrency
    this.#quietMs = quietMs
    this.#now = now
  }

  /** Live work never waits here. */
  async live<T>(work: () => Promise<T>): Promise<T> {
    const begun = this.#now()
    this.#live++
    try {
      return await work()
    } finally {
      this.#live--
      this.#lastLiveAt = this.#now()
      const earnedMs = (this.#lastLiveAt - begun) / (liveParts * this.#concurrency)
      this.#creditMs = Math.min(mostCreditMs, this.#creditMs + earnedMs)
      this.#wake()
    }
  }

  /** Waits until bulk work may run, then does it. @throws NotBegunError when the signal ends the waiting. */
  async bulk<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (let waitMs = this.#waitMs(); waitMs > 0; waitMs = this.#waitMs())
      await this.#wait(waitMs, signal)
    if (signal.aborted) throw notBegun(signal)
    const begun = this.#now()
    this.#bulk++
    try {
      return await work()
    } finally {
      this.#bulk--
      const tookMs = this.#now() - begun
      if (this.#live >= this.#concurrency) this.#creditMs -= tookMs
      this.#restUntil = this.#now() + tookMs
      this.#wake()
    }
  }

  /** 0: now; Infinity: until something ends; else look again after so many milliseconds. */
  #waitMs(): number {
    const now = this.#now()
    if (this.#live === 0 && now - this.#lastLiveAt >= this.#quietMs)
      return this.#bulk < this.#concurrency ? 0 : Infinity
    if (this.#bulk > 0) return Infinity
    if (this.#live >= this.#concurrency) return this.#creditMs > 0 ? 0 : Infinity
    return Math.max(0, this.#restUntil - now)
  }

  async #wait(waitMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw notBegun(signal)
    await new Promise<void>((resolve, reject) => {
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', aborted)
        resolve()
      }
      const aborted = () => {
        clearTimeout(timer)
        reject(notBegun(signal))
      }
      // Nothing may end for a long time: that live work has been quiet long enough is seen by looking.
      const timer = setTimeout(done, Math.min(waitMs, this.#quietMs) + 1)
      signal.addEventListener('abort', aborted, { once: true })
      this.#waiting.push(done)
    })
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }
}

function notBegun(signal: AbortSignal): NotBegunError {
  return new NotBegunError('a bulk job was still waiting for its turn', { cause: signal.reason })
}
