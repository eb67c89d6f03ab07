// What must survive a kill: the sweeps that are not finished and how far they are, up to when the flow of events is covered, and
// the signatures last heard of. One small object in the records bucket, written before anything relies on it.
import { z } from 'zod'
import { describeError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import type { ObjectStore } from '../shared/object-store.ts'

export const stateKey = 'reconciler/state.json'

const sweep = z.object({
  id: z.string(),
  kind: z.enum(['sweep', 'rescan']),
  reason: z.string(),
  /** Somebody asked for it and may be watching. */
  asked: z.boolean().default(false),
  requestedAt: z.string(),
  /** Only this one; without it all. */
  bucket: z.string().optional(),
  /** Only versions that are not older; without it all. */
  since: z.string().optional(),
  /** Proofs from before do not count. */
  after: z.string().optional(),
  /** Of a rescan: the signatures that verdicts should be of. */
  signatureVersion: z.string().optional(),
  startedAt: z.string().optional(),
  finishedAt: z.string().optional(),
  /** All before is done: whole buckets, and in this one the keys up to `after`. */
  cursor: z.object({ bucket: z.string(), after: z.string() }).optional(),
  seen: z.number().default(0),
  queued: z.number().default(0),
})
const schema = z.object({
  /** Everything that was uploaded before has had its event, or is covered by a sweep of the list below. The store's time. */
  coveredUntil: z.string(),
  sweeps: z.array(sweep).default([]),
  /** Those whose objects from before they were configured have had a sweep, or have one on the list. */
  buckets: z.array(z.string()).default([]),
  /** Newest last. */
  finished: z.array(sweep).default([]),
  /** Of the last sweep of everything. */
  full: z.object({ startedAt: z.string(), finishedAt: z.string(), seen: z.number() }).optional(),
  /** The last two that were heard of, newest last. */
  signatures: z.array(z.string()).default([]),
  /** Ids of requests that were taken, newest last. */
  requests: z.array(z.string()).default([]),
})

export type Sweep = z.infer<typeof sweep>
export type ReconcilerState = z.infer<typeof schema>

export class StateFile {
  readonly #store: Pick<ObjectStore, 'writeText'>
  readonly #bucket: string
  #current: ReconcilerState
  #changes: Promise<unknown> = Promise.resolve()
  readonly #listeners: (() => void)[] = []

  constructor(store: Pick<ObjectStore, 'writeText'>, bucket: string, current: ReconcilerState) {
    this.#store = store
    this.#bucket = bucket
    this.#current = current
  }

  /** As of the last write; not to be changed. */
  get current(): Readonly<ReconcilerState> {
    return this.#current
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  /** Applies `edit` and resolves when the result is in the store; a failed write changes nothing. One at a time. */
  change(edit: (state: ReconcilerState) => void): Promise<void> {
    const done = this.#changeAfter(this.#changes, edit)
    this.#changes = done.catch(() => {})
    return done
  }

  async #changeAfter(before: Promise<unknown>, edit: (state: ReconcilerState) => void) {
    await before
    const next = structuredClone(this.#current)
    edit(next)
    await this.#store.writeText(this.#bucket, stateKey, JSON.stringify(next))
    this.#current = next
    for (const listener of this.#listeners) listener()
  }
}

/** The state that is there; without one, or with one that cannot be read, everything is to be swept. */
export async function openState(
  store: Pick<ObjectStore, 'readText' | 'writeText'>,
  bucket: string,
  log: Log,
  now = new Date(),
): Promise<StateFile> {
  const text = await store.readText(bucket, stateKey)
  if (text !== undefined) {
    try {
      return new StateFile(store, bucket, schema.parse(JSON.parse(text)))
    } catch (error) {
      log.warn('the state cannot be read, everything is swept again', {
        bucket,
        key: stateKey,
        reason: describeError(error).slice(0, 500),
      })
    }
  }
  const state = new StateFile(store, bucket, schema.parse({ coveredUntil: now.toISOString() }))
  await state.change((draft) => addSweep(draft, newSweep({ reason: 'first start' }, now)))
  return state
}

export function newSweep(wanted: { reason: string } & Partial<Sweep>, now = new Date()): Sweep {
  return {
    id: `${wanted.reason}, ${now.toISOString()}`,
    kind: 'sweep',
    asked: false,
    requestedAt: now.toISOString(),
    seen: 0,
    queued: 0,
    ...wanted,
  }
}

/** Puts a sweep on the list; one that waits there and can do its work as well is widened instead. */
export function addSweep(state: ReconcilerState, wanted: Sweep): void {
  if (wanted.kind === 'rescan') {
    // Newer signatures make an unfinished rescan pointless: this one looks at all of its objects.
    state.sweeps = state.sweeps.filter(({ kind }) => kind !== 'rescan')
  } else if (!wanted.asked) {
    const waiting = state.sweeps.find(
      ({ kind, asked, startedAt, since, after, bucket }) =>
        kind === 'sweep' &&
        !asked &&
        startedAt === undefined &&
        bucket === wanted.bucket &&
        (since === undefined) === (wanted.since === undefined) &&
        (after === undefined) === (wanted.after === undefined),
    )
    if (waiting !== undefined) {
      if (waiting.after !== undefined && wanted.after !== undefined && wanted.after > waiting.after)
        waiting.after = wanted.after
      if (waiting.since !== undefined && wanted.since !== undefined && wanted.since < waiting.since)
        waiting.since = wanted.since
      return
    }
  }
  state.sweeps.push(wanted)
}

export function isOfEverything({ kind, since, bucket }: Sweep): boolean {
  return kind === 'sweep' && since === undefined && bucket === undefined
}

/**
 * A sweep for each bucket that was not among them before: of what it holds already there is no event. One that was dropped from the
 * configuration, or could not be used, is new when it comes back.
 */
export function addNewBuckets(state: ReconcilerState, buckets: readonly string[]): void {
  const isCovered = state.sweeps.some(
    (sweep) => isOfEverything(sweep) && sweep.startedAt === undefined,
  )
  for (const bucket of buckets)
    if (!isCovered && !state.buckets.includes(bucket))
      addSweep(state, newSweep({ reason: `first sweep of ${bucket}`, bucket }))
  state.buckets = [...buckets]
}

/**
 * The sweep whose turn it is: what events have missed first, then what they may not have told or were not there to tell, then
 * rescans, then everything.
 */
export function nextSweep(state: Readonly<ReconcilerState>): Sweep | undefined {
  const rank = ({ kind, since, after, bucket }: Sweep) =>
    kind === 'rescan' ? 2 : since !== undefined ? 0 : (after ?? bucket) !== undefined ? 1 : 3
  return state.sweeps.toSorted((a, b) => rank(a) - rank(b))[0]
}
