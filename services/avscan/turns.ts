// Whose scan starts next, so that nobody's hard files keep another's waiting: eight zips of 6 KB hold clamd for a minute.
//
//   fewer scans run than the engine has places   any may start, live ones first
//   all places are taken                         a live one whose uploader has none running takes a reserved place
//   its uploader has scans that do not end       a live one gives way: it goes to the bulk lane, for while it waits here
//                                                it keeps others in the queue from being seen at all
//
// A job that tells no uploader (a verify job) has no right to a reserved place, and gives way when no place comes free.
import { GiveWayError } from '../shared/errors.ts'

export interface Claim {
  lane: 'live' | 'bulk'
  /** As the store's event tells; undefined in jobs that are no events. */
  uploader: string | undefined
}

export interface TurnsOptions {
  /** Scans that the engine takes at a time, without the reserved ones. */
  places: () => number
  /** Places beyond, for uploaders who have none. */
  reserved: number
  /** So long none of its scans has ended: others are not kept waiting behind them. */
  stalledMs?: number
}

interface Group {
  running: number
  /** When one of its scans ended last, or the first of those that run began. */
  progressAt: number
}

interface Waiter {
  claim: Claim
  start: () => void
}

export class Turns {
  readonly #options: Required<TurnsOptions>
  /** Those that are not in reserved places. */
  readonly #general: Group = { running: 0, progressAt: 0 }
  /** Of the uploaders who have some running. */
  readonly #groups = new Map<string, Group>()
  #waiters: Waiter[] = []
  #running = 0

  constructor(options: TurnsOptions) {
    this.#options = { stalledMs: 1000, ...options }
  }

  /** Before anything is done for a live job. @throws GiveWayError when it would only wait. */
  check(claim: Claim): void {
    if (!this.#mayStart(claim) && this.#stalledFor(claim) <= 0) throw new GiveWayError(reason)
  }

  /**
   * Waits for a turn; to be given back by calling what it resolves to, once or more often.
   * @throws GiveWayError, or the signal's reason.
   */
  async take(claim: Claim, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    return this.#mayStart(claim) ? this.#begin(claim) : this.#wait(claim, signal)
  }

  #wait(claim: Claim, signal: AbortSignal): Promise<() => void> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      const waiter: Waiter = { claim, start: () => leave(() => resolve(this.#begin(claim))) }
      const leave = (ended: () => void) => {
        clearTimeout(timer)
        signal.removeEventListener('abort', aborted)
        this.#waiters = this.#waiters.filter((one) => one !== waiter)
        ended()
      }
      const aborted = () => leave(() => reject(signal.reason as Error))
      const look = () => {
        const leftMs = this.#stalledFor(claim)
        if (leftMs <= 0) leave(() => reject(new GiveWayError(reason)))
        else if (leftMs < Infinity) timer = setTimeout(look, leftMs + 1).unref()
      }
      this.#waiters.push(waiter)
      signal.addEventListener('abort', aborted, { once: true })
      look()
    })
  }

  #mayStart({ lane, uploader }: Claim): boolean {
    const places = this.#options.places()
    if (this.#running < places) return true
    if (lane === 'bulk' || uploader === undefined) return false
    return !this.#groups.has(uploader) && this.#running < places + this.#options.reserved
  }

  /** Milliseconds until a live job of this uploader has to give way; Infinity in the bulk lane. */
  #stalledFor({ lane, uploader }: Claim): number {
    if (lane === 'bulk') return Infinity
    const own = uploader === undefined ? undefined : this.#groups.get(uploader)
    // Without one all places are others', the reserved ones too.
    const { progressAt } = own ?? this.#general
    return progressAt + this.#options.stalledMs - performance.now()
  }

  #begin({ uploader }: Claim): () => void {
    const groups: Group[] = this.#running < this.#options.places() ? [this.#general] : []
    if (uploader !== undefined) groups.push(this.#groupOf(uploader))
    for (const group of groups) if (group.running++ === 0) group.progressAt = performance.now()
    this.#running++
    let held = true
    return () => {
      if (!held) return
      held = false
      for (const group of groups) {
        group.running--
        group.progressAt = performance.now()
      }
      if (uploader !== undefined && this.#groups.get(uploader)?.running === 0)
        this.#groups.delete(uploader)
      this.#running--
      this.#next()
    }
  }

  #next(): void {
    const live = this.#waiters.filter(({ claim }) => claim.lane === 'live')
    const bulk = this.#waiters.filter(({ claim }) => claim.lane === 'bulk')
    for (const waiter of [...live, ...bulk]) if (this.#mayStart(waiter.claim)) waiter.start()
  }

  #groupOf(uploader: string): Group {
    const group = this.#groups.get(uploader) ?? { running: 0, progressAt: 0 }
    this.#groups.set(uploader, group)
    return group
  }
}

const reason = 'scans of the same uploader do not end: it goes to the bulk lane'
