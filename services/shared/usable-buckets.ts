// Which of the configured buckets the store gives us. One that is missing or refused stops nothing but itself, and is told.
import { setTimeout as sleep } from 'node:timers/promises'
import { describeError, FatalError } from './errors.ts'
import type { Log } from './log.ts'
import type { ObjectStore } from './object-store.ts'

/** How soon it is seen that a bucket is gone, or back, when nothing else asks. */
const watchMs = 30_000

export class UsableBuckets {
  readonly #configured: readonly string[]
  readonly #store: Pick<ObjectStore, 'ping'>
  readonly #log: Log
  #unusable = new Map<string, string>()

  constructor(configured: readonly string[], store: Pick<ObjectStore, 'ping'>, log: Log) {
    this.#configured = configured
    this.#store = store
    this.#log = log
  }

  /** As of the last probe, in the order of the configuration. */
  get names(): string[] {
    return this.#configured.filter((bucket) => !this.#unusable.has(bucket))
  }

  /** Why the others cannot be used, and what to do, by their names. */
  get unusable(): Record<string, string> {
    return Object.fromEntries(this.#unusable)
  }

  /** @throws FatalError when the store gives none of them; StoreUnavailableError */
  async probe(): Promise<void> {
    const refusals: FatalError[] = []
    const unusable = new Map<string, string>()
    const ask = async (bucket: string) => {
      try {
        await this.#store.ping(bucket)
      } catch (error) {
        if (!(error instanceof FatalError)) throw error
        refusals.push(error)
        unusable.set(bucket, `${describeError(error)} - ${error.hint}`)
      }
    }
    await Promise.all(this.#configured.map(ask))
    if (refusals[0] !== undefined && unusable.size === this.#configured.length) throw refusals[0]
    this.#tell(unusable)
    this.#unusable = unusable
  }

  /** Probes until the signal. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(watchMs, undefined, { signal }).catch(() => undefined)
      // An outage, and a store that refuses everything, are told by whoever has work to do.
      if (!signal.aborted) await this.probe().catch(() => undefined)
    }
  }

  #tell(now: ReadonlyMap<string, string>): void {
    for (const [bucket, why] of now)
      if (!this.#unusable.has(bucket))
        this.#log.error('a bucket cannot be used, nothing in it is scanned', { bucket, why })
    for (const bucket of this.#unusable.keys())
      if (!now.has(bucket)) this.#log.info('a bucket can be used again', { bucket })
  }
}
