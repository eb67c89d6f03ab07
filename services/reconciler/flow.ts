// Watches over the flow of events: when one may have been lost, everything since the last moment when all was known to be well is
// swept, as soon as the end-to-end canary shows that events flow again.
import { addSweep, newSweep, type StateFile } from './state.ts'
import type { Log } from '../shared/log.ts'

export interface FlowOptions {
  state: StateFile
  /** How much before the last good moment a sweep begins: what was noticed late, and clocks. */
  marginMs: number
  onGap: (reason: string) => void
  log: Log
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

  /** What happened while this process was away nobody knows: it begins with a gap. */
  constructor(options: FlowOptions) {
    this.#options = options
    this.#gap = new Set(['start'])
  }

  /** An event may have been lost, now or a little earlier. */
  lost(reason: string): void {
    const { log, onGap } = this.#options
    this.#mishaps++
    onGap(reason)
    if (this.#gap === undefined)
      log.warn('events may be missing, a sweep follows', {
        reason,
        since: this.#options.state.current.coveredUntil,
      })
    this.#gap ??= new Set()
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
    const { state, marginMs, log } = this.#options
    // It may have passed just before the store went away.
    if (ticket !== this.#mishaps) return
    const reasons = this.#gap
    await state.change((draft) => {
      if (reasons !== undefined) {
        const since = new Date(Date.parse(draft.coveredUntil) - marginMs).toISOString()
        const reason = `gap: ${[...reasons].join(', ')}`.slice(0, 200)
        addSweep(draft, newSweep({ reason, since }))
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
}
