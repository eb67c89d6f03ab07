// A sweep: every version of every bucket, page by page; what lacks a proven verdict gets a job on the bulk lane. After each page
// whose jobs are all confirmed the cursor is saved, so a kill repeats at most a page and skips nothing.
import { setTimeout as sleep } from 'node:timers/promises'
import { inParallel } from './in-parallel.ts'
import { publishJobs, type BulkLane } from './publish-jobs.ts'
import { isCandidate, whyWanted, type Why } from './selection.ts'
import type { StateFile, Sweep } from './state.ts'
import { ObjectChangedError, ObjectGoneError, OutageError, toError } from '../shared/errors.ts'
import { goneTwice } from '../shared/gone-twice.ts'
import type { Log } from '../shared/log.ts'
import type { ObjectRef } from '../shared/messages.ts'
import type { ObjectStore } from '../shared/object-store.ts'
import type { Proofs } from '../shared/proven.ts'
import { backoffMs, waitUntilReady } from '../shared/retry.ts'
import type { UsableBuckets } from '../shared/usable-buckets.ts'
import type { ObjectVersion, VersionPage } from '../shared/version-listing.ts'

export interface SweepDependencies {
  store: Pick<ObjectStore, 'versionPages' | 'ping'>
  proofs: Pick<Proofs, 'proven'>
  state: StateFile
  bulk: BulkLane
  buckets: Pick<UsableBuckets, 'names' | 'probe'>
  deletes: boolean
  onQueued: (why: Why, count: number) => void
  onSeen: (count: number) => void
  log: Log
  signal: AbortSignal
}

const proofsAtATime = 8
/** The store says that it is well, and still cannot answer for this one object. */
const triesPerObject = 4
const unreadableLogged = 10

type Found = { object: ObjectRef; why: Why }

/** One sweep's way through the buckets; `step` is called until it is over. */
export class SweepRun {
  readonly id: string
  /** Of the page in work, which the state does not know yet. */
  readonly inPage = { seen: 0, queued: 0 }
  readonly #deps: SweepDependencies
  #bucket = ''
  #pages: AsyncIterator<VersionPage> | undefined
  #waiting: Promise<unknown> | undefined
  #unreadable = 0

  constructor(id: string, deps: SweepDependencies) {
    this.id = id
    this.#deps = deps
  }

  /** Does the next page; false when there is none left. A page that could not be listed is asked for again by the next call. */
  async step(sweep: Sweep): Promise<boolean> {
    const { store, buckets: usable } = this.#deps
    const buckets = usable.names.filter((one) => (sweep.bucket ?? one) === one)
    // It is configured no more, or cannot be used: it is swept once it can.
    if (buckets.length === 0) return false
    const at = sweep.cursor ?? { bucket: buckets[0] ?? '', after: '' }
    const index = buckets.indexOf(at.bucket)
    // A bucket that could be used when the sweep began.
    if (index < 0) return this.#goOn({ bucket: buckets[0] ?? '', after: '' })
    if (this.#pages === undefined || this.#bucket !== at.bucket) {
      this.#bucket = at.bucket
      this.#pages = store.versionPages(at.bucket, '', at.after)[Symbol.asyncIterator]()
    }
    try {
      const page = await this.#pages.next()
      if (page.done !== true) {
        await this.#takePage(sweep, page.value)
        return true
      }
    } catch (error) {
      this.#pages = undefined
      // One that is gone by now must not keep the others from being swept.
      await usable.probe()
      if (!usable.names.includes(at.bucket)) return true
      throw error
    }
    this.#pages = undefined
    const next = buckets[index + 1]
    return next === undefined ? false : this.#goOn({ bucket: next, after: '' })
  }

  async #goOn(cursor: Sweep['cursor'], seen = 0, queued = 0): Promise<boolean> {
    await this.#deps.state.change(({ sweeps }) => {
      const sweep = sweeps.find(({ id }) => id === this.id)
      if (sweep === undefined) return
      sweep.cursor = cursor
      sweep.seen += seen
      sweep.queued += queued
    })
    Object.assign(this.inPage, { seen: 0, queued: 0 })
    return true
  }

  async #takePage(sweep: Sweep, { versions, after }: VersionPage): Promise<void> {
    const { bulk, onQueued, onSeen, signal } = this.#deps
    const seen = versions.filter(({ deleteMarker }) => !deleteMarker).length
    Object.assign(this.inPage, { seen: 0, queued: 0 })
    const candidates = versions.filter((version) => isCandidate(version, sweep))
    const found = await inParallel(candidates, proofsAtATime, (version) => {
      signal.throwIfAborted()
      this.inPage.seen++
      return this.#lookAt(version, sweep)
    })
    Object.assign(this.inPage, { seen })
    const wanted = found.filter((one) => one !== undefined)
    const trigger =
      sweep.kind === 'rescan'
        ? { kind: 'rescan' as const, id: sweep.signatureVersion }
        : {
            kind: 'sweep' as const,
            id: sweep.id,
            after: sweep.after === undefined ? undefined : new Date(sweep.after),
          }
    await publishJobs(
      wanted.map(({ object }) => object),
      trigger,
      bulk,
    )
    for (const { why } of wanted) onQueued(why, 1)
    this.inPage.queued = wanted.length
    onSeen(seen)
    await waitUntilReady(
      'the object store',
      () => this.#goOn({ bucket: this.#bucket, after }, seen, wanted.length),
      this.#deps,
    )
  }

  /** Resolves when the store answers again: one question for all who wait. */
  #storeBack(): Promise<unknown> {
    const { store } = this.#deps
    this.#waiting ??= waitUntilReady(
      'the object store',
      () => store.ping(this.#bucket),
      this.#deps,
    ).finally(() => (this.#waiting = undefined))
    return this.#waiting
  }

  /** The job that the version needs, if it needs one. */
  async #lookAt(version: ObjectVersion, sweep: Sweep): Promise<Found | undefined> {
    const { key, versionId, etag, size } = version
    const bucket = this.#bucket
    const object = { bucket, key, versionId, etag, size }
    const { deletes, log, proofs, signal } = this.#deps
    for (let tries = 1; ; tries++) {
      try {
        const facts = { ...version, tagCount: 1 }
        const proven = await goneTwice(() => proofs.proven({ bucket, key, facts }), signal)
        const why = whyWanted(proven, sweep, { deletes })
        if (why === undefined) return undefined
        return {
          why,
          object: why === 'signatures' ? { ...object, previous: proven?.tag } : object,
        }
      } catch (thrown) {
        signal.throwIfAborted()
        const error = toError(thrown)
        if (error instanceof ObjectGoneError || error instanceof ObjectChangedError)
          return undefined
        if (error instanceof OutageError && tries < triesPerObject) {
          await this.#storeBack()
          await sleep(backoffMs(tries + 1), undefined, { signal })
          continue
        }
        // Its verdict cannot be read: better scanned once more than never.
        if (++this.#unreadable <= unreadableLogged)
          log.warn('the store answers oddly for an object, it is queued', {
            bucket,
            key,
            versionId,
            error,
          })
        return { why: 'unreadable', object }
      }
    }
  }
}
