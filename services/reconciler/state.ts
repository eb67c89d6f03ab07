// What must survive a kill: the sweeps that are not finished and how far they are, up to when the flow of events is covered, and
// the signatures last heard of. One small object in the records bucket, written before anything relies on it.
import { z } from 'zod'
import { ObjectChangedError } from '../shared/errors.ts'
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

type StateStore = Pick<ObjectStore, 'readTagged' | 'writeText'>
/** What is in the store: its state, where it can be read, and its ETag, '' for none at all. */
type Stored = { state: ReconcilerState | undefined; text: string; etag: string }

/** How often a change is made anew because another reconciler has written meanwhile. */
const mostTries = 5

export class StateFile {
  readonly #store: StateStore
  readonly #bucket: string
  readonly #log: Log
  #current: ReconcilerState
  #etag: string
  #changes: Promise<unknown> = Promise.resolve()
  readonly #listeners: (() => void)[] = []

  constructor(store: StateStore, bucket: string, log: Log, current: ReconcilerState, etag: string) {
    this.#store = store
    this.#bucket = bucket
    this.#log = log
    this.#current = current
    this.#etag = etag
  }

  /** As of the last write; not to be changed. */
  get current(): Readonly<ReconcilerState> {
    return this.#current
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  /**
   * Applies `edit` and resolves when the result is in the store; a failed write changes nothing. One at a time. What another
   * reconciler has written meanwhile stays: `edit` is then applied to that.
   */
  change(edit: (state: ReconcilerState) => void): Promise<void> {
    const done = this.#changeAfter(this.#changes, edit)
    this.#changes = done.catch(() => {})
    return done
  }

  async #changeAfter(before: Promise<unknown>, edit: (state: ReconcilerState) => void) {
    await before
    for (let tries = 1; !(await this.#tryChange(edit, tries)); tries++);
    for (const listener of this.#listeners) listener()
  }

  /** False when there is another state by now, which has been taken. */
  async #tryChange(edit: (state: ReconcilerState) => void, tries: number): Promise<boolean> {
    const next = structuredClone(this.#current)
    edit(next)
    const text = JSON.stringify(next)
    try {
      this.#etag = await this.#store.writeText(this.#bucket, stateKey, text, this.#etag)
    } catch (error) {
      if (!(error instanceof ObjectChangedError) || tries >= mostTries) throw error
      const stored = await readStored(this.#store, this.#bucket)
      this.#etag = stored.etag
      // Our own write, whose answer was lost, is no other one.
      if (stored.text !== text) {
        const what =
          stored.etag === ''
            ? 'the state is gone, writing it again'
            : 'another reconciler has written the state, too; one is enough'
        this.#log.warn(what, { tries })
        this.#current = stored.state ?? this.#current
        return false
      }
    }
    this.#current = next
    return true
  }
}

async function readStored(store: StateStore, bucket: string): Promise<Stored> {
  const stored = (await store.readTagged(bucket, stateKey)) ?? { text: '', etag: '' }
  try {
    return { ...stored, state: schema.parse(JSON.parse(stored.text)) }
  } catch {
    return { ...stored, state: undefined }
  }
}

/** The state that is there; without one, or with one that cannot be read, everything is to be swept. */
export async function openState(
  store: StateStore,
  bucket: string,
  log: Log,
  now = new Date(),
): Promise<StateFile> {
  const { state, text, etag } = await readStored(store, bucket)
  if (state !== undefined) return new StateFile(store, bucket, log, state, etag)
  if (etag !== '')
    log.warn('the state cannot be read, everything is swept again', {
      bucket,
      key: stateKey,
      begins: text.slice(0, 200),
    })
  const fresh = schema.parse({ coveredUntil: now.toISOString() })
  const file = new StateFile(store, bucket, log, fresh, etag)
  await file.change((draft) => addSweep(draft, newSweep({ reason: 'first start' }, now)))
  return file
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
