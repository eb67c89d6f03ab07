// Whose scan starts next, so that nobody's hard files keep another's waiting: eight zips of 6 KB hold clamd for a minute.
//
//   fewer scans run than the engine has places   any may start, live ones first
//   all places are taken                         a live one whose uploader has none running takes a reserved place
//   its uploader has scans that do not end,      a live one gives way: it goes to the bulk lane, for while it waits here
//   or so much before it that it takes long      it keeps others in the queue from being seen at all
//
// Who has none running answers for nobody: it waits for a reserved place as long as these come free. A job that tells no uploader
// (a verify job) has no right to one, and gives way when no place comes free.
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
  /** So long one may have to wait for those of its own uploader. */
  ownMs?: number
}

interface Group {
  running: number
  /** When one of its scans ended last, or the first of those that run began. */
  progressAt: number
  /** How long one of its scans takes, as the last ones did. */
  meanMs: number
}

interface Waiter {
  claim: Claim
  start: () => void
}

export class Turns {
  readonly #options: Required<TurnsOptions>
  /** Those that are not in reserved places. */
  readonly #general = newGroup()
  readonly #reserved = newGroup()
  /** Of the uploaders who have some running. */
  readonly #groups = new Map<string, Group>()
  #waiters: Waiter[] = []
  #running = 0

  constructor(options: TurnsOptions) {
    this.#options = { stalledMs: 1000, ownMs: 500, ...options }
  }

  /** Before anything is done for a live job. @throws GiveWayError when it would only wait. */
  check(claim: Claim): void {
    if (!this.#mayStart(claim) && this.#patience(claim, this.#waiters) <= 0)
      throw new GiveWayError(reason)
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
        const before = this.#waiters.slice(0, this.#waiters.indexOf(waiter))
        const leftMs = this.#patience(claim, before)
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
    return (
      (this.#groups.get(uploader)?.running ?? 0) === 0 &&
      this.#running < places + this.#options.reserved
    )
  }

  /** Milliseconds until a live job behind these has to give way; Infinity in the bulk lane. */
  #patience({ lane, uploader }: Claim, before: readonly Waiter[]): number {
    if (lane === 'bulk') return Infinity
    const own = uploader === undefined ? this.#general : this.#groups.get(uploader)
    if (own !== undefined) {
      const count = before.filter(({ claim }) => claim.uploader === uploader).length
      if ((count * own.meanMs) / Math.max(1, this.#options.places()) > this.#options.ownMs) return 0
    }
    const { progressAt } = own ?? this.#reserved
    return progressAt + this.#options.stalledMs - performance.now()
  }

  #begin({ uploader }: Claim): () => void {
    const groups = [this.#running < this.#options.places() ? this.#general : this.#reserved]
    if (uploader !== undefined) groups.push(this.#groupOf(uploader))
    const begun = performance.now()
    for (const group of groups) if (group.running++ === 0) group.progressAt = begun
    this.#running++
    let held = true
    return () => {
      if (!held) return
      held = false
      const now = performance.now()
      for (const group of groups) {
        group.running--
        group.progressAt = now
        group.meanMs += (now - begun - group.meanMs) / (group.meanMs === 0 ? 1 : 4)
      }
      this.#running--
      this.#next()
      // Not before: who goes on is to be known.
      if (uploader !== undefined && this.#groups.get(uploader)?.running === 0)
        this.#groups.delete(uploader)
    }
  }

  #next(): void {
    const live = this.#waiters.filter(({ claim }) => claim.lane === 'live')
    const bulk = this.#waiters.filter(({ claim }) => claim.lane === 'bulk')
    for (const waiter of [...live, ...bulk]) if (this.#mayStart(waiter.claim)) waiter.start()
  }

  #groupOf(uploader: string): Group {
    const group = this.#groups.get(uploader) ?? newGroup()
    this.#groups.set(uploader, group)
    return group
  }
}

function newGroup(): Group {
  return { running: 0, progressAt: 0, meanMs: 0 }
}

const reason = 'scans of the same uploader take long: it goes to the bulk lane'
