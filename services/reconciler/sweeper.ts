// Which sweep runs when: takes the one whose turn it is from the state, page by page, and rests while the bulk lane is full.
import { setTimeout as sleep } from 'node:timers/promises'
import { SweepRun, type SweepDependencies } from './sweep.ts'
import {
  addNewBuckets,
  addSweep,
  isOfEverything,
  newSweep,
  nextSweep,
  type Sweep,
} from './state.ts'
import { describeError, FatalError, toError } from '../shared/errors.ts'
import { backoffMs } from '../shared/retry.ts'

export interface SweeperDependencies extends SweepDependencies {
  /** Jobs that wait in the bulk lane; undefined when nobody knows. */
  depth: () => Promise<number | undefined>
  /** How often everything is swept; 0: never by itself. */
  intervalMs: number
  onRunning: (running: boolean) => void
  onFinished: (sweep: Sweep) => void
}

export interface SweepFacts {
  id: string
  reason: string
  running: boolean
  /** Why it does not go on at the moment. */
  paused?: string | undefined
  since?: string | undefined
  startedAt?: string | undefined
  finishedAt?: string | undefined
  seen: number
  queued: number
  /** Objects per second since this process took it up. */
  rate: number
  /** Objects that the last sweep of everything saw. */
  total?: number | undefined
}

/** With more jobs than this in the bulk lane nothing is added to it: what a sweep finds must not fill the broker's disk. */
const fullLane = 5000
const remembered = 10
/** How long the end of a sweep that somebody asked for stays in front of what comes next. */
const showEndMs = 15_000

export class Sweeper {
  readonly #deps: SweeperDependencies
  #run: SweepRun | undefined
  #paused: string | undefined
  #wake = Promise.withResolvers<void>()
  /** When this process took up the running sweep, and what it had seen by then. */
  #taken = { id: '', at: 0, seen: 0 }

  constructor(deps: SweeperDependencies) {
    this.#deps = deps
    deps.state.onChange(() => this.#wake.resolve())
  }

  /** Runs until the signal. */
  async run(): Promise<void> {
    const { log, signal } = this.#deps
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#step()
        this.#paused = undefined
        failures = 0
      } catch (thrown) {
        if (signal.aborted) return
        const error = toError(thrown)
        failures++
        if (failures === 1) log.warn('the sweep cannot go on, trying again', { error })
        const hint = error instanceof FatalError ? ` - ${error.hint}` : ''
        this.#paused = `${describeError(error)}${hint}`
        await this.#rest(backoffMs(failures + 1))
      }
    }
  }

  async #step(): Promise<void> {
    const { state, depth, onRunning } = this.#deps
    // Before the state is looked at: a change in between must not be slept through.
    this.#wake = Promise.withResolvers<void>()
    await this.#addDue()
    const sweep = nextSweep(state.current)
    onRunning(sweep !== undefined)
    if (sweep === undefined) return this.#rest(this.#dueInMs())
    if (sweep.startedAt === undefined) return this.#begin(sweep.id)
    const waiting = await depth()
    if (waiting !== undefined && waiting > fullLane) {
      this.#paused = `${waiting} jobs wait in the bulk lane`
      await this.#rest(500, this.#paused)
      return
    }
    if (this.#taken.id !== sweep.id)
      this.#taken = { id: sweep.id, at: performance.now(), seen: sweep.seen }
    if (this.#run?.id !== sweep.id) this.#run = new SweepRun(sweep.id, this.#deps)
    if (!(await this.#run.step(sweep))) await this.#finish(sweep.id)
  }

  async #begin(id: string): Promise<void> {
    const { state, log } = this.#deps
    await state.change(({ sweeps }) => {
      const sweep = sweeps.find((one) => one.id === id)
      if (sweep !== undefined) sweep.startedAt = new Date().toISOString()
    })
    const { reason, since } = state.current.sweeps.find((one) => one.id === id) ?? {}
    log.info('sweep started', { id, reason, since })
  }

  async #finish(id: string): Promise<void> {
    const { state, log, onFinished } = this.#deps
    const finishedAt = new Date().toISOString()
    await state.change((draft) => {
      const sweep = draft.sweeps.find((one) => one.id === id)
      if (sweep === undefined) return
      draft.sweeps = draft.sweeps.filter((one) => one.id !== id)
      draft.finished = [...draft.finished, { ...sweep, finishedAt }].slice(-remembered)
      if (isOfEverything(sweep))
        draft.full = { startedAt: sweep.startedAt ?? finishedAt, finishedAt, seen: sweep.seen }
    })
    this.#run = undefined
    const done = state.current.finished.find((one) => one.id === id)
    if (done === undefined) return
    onFinished(done)
    const { reason, seen, queued, startedAt = finishedAt } = done
    const durationMs = Date.parse(finishedAt) - Date.parse(startedAt)
    log.info('sweep finished', { id, reason, seen, queued, durationMs })
  }

  async #addDue(): Promise<void> {
    const { state, buckets } = this.#deps
    const { names } = buckets
    const known = state.current.buckets
    if (names.some((one) => !known.includes(one)) || known.length !== names.length)
      await state.change((draft) => addNewBuckets(draft, names))
    if (this.#dueInMs() > 0) return
    await state.change((draft) => addSweep(draft, newSweep({ reason: 'interval' })))
  }

  /** Until everything is to be swept again. */
  #dueInMs(): number {
    const { state, intervalMs } = this.#deps
    const { full, sweeps } = state.current
    const waits = sweeps.some(isOfEverything)
    if (intervalMs === 0 || full === undefined || waits) return longMs
    return Math.min(longMs, Math.max(0, Date.parse(full.startedAt) + intervalMs - Date.now()))
  }

  /** Until the state changes, but not longer. */
  async #rest(ms: number, why?: string): Promise<void> {
    if (why !== undefined) this.#paused = why
    const done = new AbortController()
    const signal = AbortSignal.any([this.#deps.signal, done.signal])
    await Promise.race([this.#wake.promise, sleep(ms, undefined, { signal }).catch(() => {})])
    done.abort()
  }

  /** The sweep that is of interest: one that somebody asked for, else the one that runs, else the last one. */
  get facts(): SweepFacts | undefined {
    const { sweeps, finished } = this.#deps.state.current
    const started = sweeps.filter(({ startedAt }) => startedAt !== undefined)
    const justEnded = finished.findLast(
      ({ asked, finishedAt = '' }) => asked && Date.now() - Date.parse(finishedAt) < showEndMs,
    )
    const shown =
      started.find(({ asked }) => asked) ??
      justEnded ??
      started.find(({ id }) => id === this.#run?.id) ??
      started[0] ??
      finished.at(-1)
    return shown === undefined ? undefined : this.#factsOf(shown)
  }

  /** All that are not finished, and the last ones that are. */
  get all(): SweepFacts[] {
    const { sweeps, finished } = this.#deps.state.current
    return [...finished, ...sweeps].map((one) => this.#factsOf(one))
  }

  #factsOf(sweep: Sweep): SweepFacts {
    const { id, reason, since, startedAt, finishedAt } = sweep
    const inPage = this.#run?.id === id ? this.#run.inPage : { seen: 0, queued: 0 }
    const seen = sweep.seen + inPage.seen
    const queued = sweep.queued + inPage.queued
    const running = startedAt !== undefined && finishedAt === undefined
    const seconds = (performance.now() - this.#taken.at) / 1000
    const isTaken = running && this.#taken.id === id && seconds > 0
    const isOfAll = sweep.kind === 'sweep' && sweep.bucket === undefined
    const total = isOfAll ? this.#deps.state.current.full?.seen : undefined
    return {
      id,
      reason,
      running,
      paused: running ? this.#paused : undefined,
      since,
      startedAt,
      finishedAt,
      seen,
      queued,
      rate: isTaken ? Math.round(((seen - this.#taken.seen) / seconds) * 10) / 10 : 0,
      total,
    }
  }
}

const longMs = 60_000
