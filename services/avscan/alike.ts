// Jobs that mean the same versions: 300 uploads of the same bytes to one key are 300 events that name no version, and each means all
// 300 (VersityGW). They go one after another, so that no version is scanned by two of them; who came before a listing began
// need not make one of its own; and what was proven a moment ago is not asked for again.
import { setTimeout as sleep } from 'node:timers/promises'
import { GiveWayError } from '../shared/errors.ts'
import { isOverwritable, type ObjectRef } from '../shared/messages.ts'
import type { Claim } from './turns.ts'

const rememberMs = 60_000
const mostRemembered = 10_000
/** One at work, and one that comes after it. */
const mostLive = 2

interface Line {
  /** Resolves when the last that has come is through. */
  tail: Promise<void>
  /** In work or waiting. */
  jobs: number
  listing?: { begunAt: number; result: Promise<unknown> }
}

export class Alike {
  readonly #lines = new Map<string, Line>()
  readonly #provenAt = new Map<string, number>()
  readonly #patienceMs: number

  /** @param patienceMs so long a live job waits for those before it. */
  constructor(patienceMs = 1000) {
    this.#patienceMs = patienceMs
  }

  /**
   * Does `work` when nobody else is at work on jobs like this one. What it is given makes the listing, or has it from another.
   * @throws GiveWayError when a live job would wait long, or others wait already.
   */
  async inTurn<Listed>(
    { bucket, key, versionId, etag }: ObjectRef,
    lane: Claim['lane'],
    work: (shared: (list: () => Promise<Listed>) => Promise<Listed>) => Promise<void>,
  ): Promise<void> {
    if (versionId !== undefined) return work((list) => list())
    const name = JSON.stringify([bucket, key, etag])
    const line = this.#lines.get(name) ?? { tail: Promise.resolve(), jobs: 0 }
    // The listing of the one that waits finds all that is there by then: more of them would only keep others from being seen.
    if (lane === 'live' && line.jobs >= mostLive) throw new GiveWayError(reason)
    const cameAt = performance.now()
    this.#lines.set(name, line)
    const before = line.tail
    const { promise: through, resolve: leave } = Promise.withResolvers<void>()
    line.tail = Promise.all([before, through]).then(() => undefined)
    line.jobs++
    try {
      if (lane === 'live') await this.#within(before)
      else await before
      await work((list) => {
        // Its upload was there before that listing began.
        if (line.listing !== undefined && line.listing.begunAt > cameAt)
          return line.listing.result as Promise<Listed>
        const begunAt = performance.now()
        const result = list()
        line.listing = { begunAt, result }
        return result
      })
    } finally {
      leave()
      if (--line.jobs === 0) this.#lines.delete(name)
    }
  }

  async #within(before: Promise<void>): Promise<void> {
    const over = new AbortController()
    const late = sleep(this.#patienceMs, 'late', { signal: over.signal }).catch(() => 'late')
    const first = await Promise.race([before, late])
    over.abort()
    if (first === 'late') throw new GiveWayError(reason)
  }

  /** Tags that were taken away meanwhile are found by the spool check and the sweep. */
  wasProven(object: ObjectRef): boolean {
    return (this.#provenAt.get(keyOf(object)) ?? -Infinity) > performance.now() - rememberMs
  }

  proven(object: ObjectRef): void {
    // Whoever may overwrite it can do so at once.
    if (isOverwritable(object.versionId)) return
    const key = keyOf(object)
    this.#provenAt.delete(key)
    this.#provenAt.set(key, performance.now())
    const oldest = this.#provenAt.keys().next().value
    if (this.#provenAt.size > mostRemembered && oldest !== undefined) this.#provenAt.delete(oldest)
  }
}

const reason = 'there are many uploads of these bytes to this key: it goes to the bulk lane'

const keyOf = ({ bucket, key, versionId }: ObjectRef) => JSON.stringify([bucket, key, versionId])
