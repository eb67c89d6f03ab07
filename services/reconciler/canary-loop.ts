// Sends the end-to-end canary at its interval, tells the flow watch what it showed, and keeps it in the metrics.
import { setTimeout as sleep } from 'node:timers/promises'
import { removeLeftovers, runCanary, type CanaryDependencies } from './canary.ts'
import type { Flow } from './flow.ts'
import type { Metrics } from './metrics.ts'
import { describeError, toError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import type { UsableBuckets } from '../shared/usable-buckets.ts'

export interface CanaryLoopOptions {
  buckets: Pick<UsableBuckets, 'names'>
  intervalMs: number
  flow: Flow
  metrics: Pick<Metrics, 'canaryUp' | 'canarySeconds'>
  log: Log
}

export interface CanaryFacts {
  state: 'not tried yet' | 'passing' | 'late' | 'failing'
  why?: string | undefined
  seconds?: number | undefined
  at?: string | undefined
}

/** While something is wrong the next one follows soon: the sweep waits for it. */
const soonMs = 2000

export class CanaryLoop {
  readonly #deps: Omit<CanaryDependencies, 'onLate'>
  readonly #options: CanaryLoopOptions
  #facts: CanaryFacts = { state: 'not tried yet' }
  /** What a killed process, or a canary that could not be removed, has left in the buckets. */
  #leftovers = true

  constructor(deps: Omit<CanaryDependencies, 'onLate'>, options: CanaryLoopOptions) {
    this.#deps = deps
    this.#options = options
  }

  get facts(): CanaryFacts {
    return this.#facts
  }

  /** Runs until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    const { flow, intervalMs } = this.#options
    while (!signal.aborted) {
      await this.#once(signal)
      const ms = flow.isWell ? intervalMs : Math.min(soonMs, intervalMs)
      const { disturbed } = flow.beginCanary()
      // A disturbance is looked into at once, and at most so often.
      const wake = flow.isWell ? AbortSignal.any([signal, disturbed]) : signal
      await sleep(ms, undefined, { signal: wake }).catch(() => {})
    }
  }

  async #once(signal: AbortSignal): Promise<void> {
    const { buckets, flow, metrics, log } = this.#options
    const { ticket, disturbed } = flow.beginCanary()
    const either = AbortSignal.any([signal, disturbed])
    const before = this.#facts.state
    try {
      if (this.#leftovers)
        for (const bucket of buckets.names) await removeLeftovers(bucket, this.#deps.store)
      this.#leftovers = true
      const passes = await Promise.all(
        buckets.names.map((bucket) =>
          runCanary(bucket, { ...this.#deps, onLate: () => this.#late() }, either),
        ),
      )
      this.#leftovers = false
      const [first] = passes.toSorted((a, b) => a.uploadedAt.getTime() - b.uploadedAt.getTime())
      const [slowest] = passes.toSorted((a, b) => b.seconds - a.seconds)
      if (first === undefined || slowest === undefined) return
      const { seconds, uploadedAt } = slowest
      metrics.canarySeconds.set(seconds)
      const unclean = passes.find(({ proven }) => proven.tag !== 'clean')
      if (unclean === undefined) {
        metrics.canaryUp.set(1)
        this.#facts = { state: 'passing', seconds, at: uploadedAt.toISOString() }
        if (before === 'failing') log.info('the end-to-end canary passes again', { seconds })
      } else {
        // Events flow, and that is all that is well.
        this.#fails(`judged "${unclean.proven.tag}"`)
      }
      await flow.passed(ticket, first.uploadedAt)
    } catch (thrown) {
      if (signal.aborted) return
      // A gap already; the next one shows whether it is over.
      if (disturbed.aborted) return this.#fails(describeError(disturbed.reason))
      const error = toError(thrown)
      this.#fails(describeError(error))
      flow.lost('the end-to-end canary failed')
      await flow.stillLost().catch(() => {})
    }
  }

  #late(): void {
    this.#options.metrics.canaryUp.set(0)
    if (this.#facts.state !== 'failing')
      this.#facts = { state: 'late', why: 'other jobs wait before it' }
  }

  #fails(why: string): void {
    const { metrics, log } = this.#options
    metrics.canaryUp.set(0)
    if (this.#facts.state !== 'failing') log.warn('the end-to-end canary fails', { why })
    this.#facts = { state: 'failing', why }
  }
}
