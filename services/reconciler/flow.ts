// Watches over the flow of events: when one may have been lost, everything since the last moment when all was known to be well is
// swept, as soon as the end-to-end canary shows that events flow again.
import { addSweep, newSweep, type ReconcilerState, type StateFile, type Sweep } from './state.ts'
import type { Log } from '../shared/log.ts'

export interface FlowOptions {
  state: StateFile
  /** How much before the last good moment a sweep begins: what was noticed late, and clocks. */
  marginMs: number
  onGap: (reason: string) => void
  log: Log
  /** While the gap does not close, what came since it opened is swept all the same, so often. */
  everyMs: number
  /** Whether the bulk lane has nothing left of an earlier sweep. */
  isIdle: () => Promise<boolean>
}

export interface FlowFacts {
  /** Up to then every upload has had its event, or is being swept. */
  coveredUntil: string
  /** Why events may be missing; empty while all is well. */
  gap: string[]
}

export class Flow {
  readonly #options: FlowOptions
  /** Counts the moments at which something went wrong: what a canary showed that was uploaded before the last one is void. */
  #mishaps = 0
  #gap: Set<string> | undefined
  #disturbed = new AbortController()
  /** When the gap opened, or was last swept. */
  #sweptAt = performance.now()

  /** What happened while this process was away nobody knows: it begins with a gap. */
  constructor(options: FlowOptions) {
    this.#options = options
    this.#gap = new Set(['start'])
  }

  /** An event may have been lost, now or a little earlier. */
  lost(reason: string): void {
    const { log, onGap } = this.#options
    this.#mishaps++
    if (this.#gap === undefined) {
      this.#gap = new Set()
      this.#sweptAt = performance.now()
      onGap(reason)
      log.warn('events may be missing, a sweep follows', {
        reason,
        since: this.#options.state.current.coveredUntil,
      })
    }
    this.#gap.add(reason)
    this.#disturbed.abort(new Error(reason))
    this.#disturbed = new AbortController()
  }

  get isWell(): boolean {
    return this.#gap === undefined
  }

  get facts(): FlowFacts {
    const { coveredUntil } = this.#options.state.current
    return { coveredUntil, gap: [...(this.#gap ?? [])] }
  }

  /** To be asked for before a canary is uploaded. */
  beginCanary(): { ticket: number; disturbed: AbortSignal } {
    return { ticket: this.#mishaps, disturbed: this.#disturbed.signal }
  }

  /**
   * The canary of that ticket, in the store at `uploadedAt` (the store's time), has its verdict: events flow, and everything
   * uploaded before it is covered, by events or by the sweep that is now put on the list.
   */
  async passed(ticket: number, uploadedAt: Date): Promise<void> {
    const { state, log } = this.#options
    // It may have passed just before the store went away.
    if (ticket !== this.#mishaps) return
    const reasons = this.#gap
    await state.change((draft) => {
      if (reasons !== undefined) {
        addSweep(draft, this.#sweepOf(draft, `gap: ${[...reasons].join(', ')}`))
      }
      draft.coveredUntil = uploadedAt.toISOString()
    })
    if (ticket !== this.#mishaps) {
      // What went wrong meanwhile is a gap of its own, since this canary.
      if (this.#gap === reasons) this.#gap = new Set(['while a gap was closed'])
      return
    }
    if (reasons !== undefined) log.info('events flow again')
    this.#gap = undefined
  }

  /** The canary keeps failing. Events may never come back (a store that lost its broker for good), and sweeps stand in for them. */
  async stillLost(): Promise<void> {
    const { state, everyMs, isIdle } = this.#options
    if (this.#gap === undefined || performance.now() - this.#sweptAt < everyMs) return
    if (!(await isIdle())) return
    this.#sweptAt = performance.now()
    await state.change((draft) => addSweep(draft, this.#sweepOf(draft, 'events still missing')))
  }

  #sweepOf({ coveredUntil }: Pick<ReconcilerState, 'coveredUntil'>, reason: string): Sweep {
    const since = new Date(Date.parse(coveredUntil) - this.#options.marginMs).toISOString()
    return newSweep({ reason: reason.slice(0, 200), since })
  }
}
