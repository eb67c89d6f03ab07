// One action job: delete exactly the version that was judged. Idempotent; "already gone" is done.
import { publishDone, type Outbox } from './outbox.ts'
import type { Marks } from './marks.ts'
import type { Metrics } from './metrics.ts'
import { DiscardError, FatalError, ObjectChangedError, ObjectGoneError } from '../shared/errors.ts'
import { reached } from '../shared/fault.ts'
import { goneTwice } from '../shared/gone-twice.ts'
import type { Log } from '../shared/log.ts'
import { decodeActionJob, isOverwritable, nullVersion, type ActionJob } from '../shared/messages.ts'
import { bucketProbeKey, type BucketProbe, type ObjectStore } from '../shared/object-store.ts'

export interface UnversionedDependencies {
  store: ObjectStore
  recordsBucket: string
  deleteUnversioned: 'refuse' | 'accept-race'
}

export interface ActionDependencies extends UnversionedDependencies {
  outbox: Outbox
  marks: Marks
  metrics: Metrics
  log: Log
}

export interface ActionMessage {
  body: Buffer
  about?: string
}

/** Carries out one action job and tells that it is done. */
export async function actOnMessage(
  message: ActionMessage,
  deps: ActionDependencies,
): Promise<void> {
  const job = decodeActionJob(message.body)
  const { bucket, key, versionId } = job.object
  message.about = `${bucket}/${key}`
  if (!(await isAskedFor(job, deps)))
    throw new DiscardError(
      `somebody without PROOF_KEY asks to delete ${bucket}/${key} (${versionId}), which is not proven infected`,
    )
  const outcome = await remove(job, deps)
  await publishDone(deps.outbox, job, 'deleted', outcome === 'done' ? undefined : outcome)
  deps.metrics.actions.inc({ action: job.action, outcome })
  deps.log.info('infected object deleted', {
    bucket,
    key,
    versionId,
    signature: job.signature,
    outcome,
  })
}

/** By a worker, or by its verdict: a job that waited through the upgrade from 1.0 has no seal. */
async function isAskedFor(job: ActionJob, { store, marks }: ActionDependencies): Promise<boolean> {
  if (marks.isSealed(job)) return true
  const { bucket, key, versionId, etag } = job.object
  try {
    const facts = await goneTwice(() => store.head({ bucket, key, versionId }))
    const proven = facts.etag === etag ? await marks.proven({ bucket, key, facts }) : undefined
    return proven?.tag === 'infected'
  } catch (error) {
    if (error instanceof ObjectGoneError) return false
    throw error
  }
}

/** The last words about an action that is given up; the tag stays `infected`. */
export async function giveUpAction(
  message: ActionMessage,
  failure: Error,
  deps: ActionDependencies,
): Promise<void> {
  const job = decodeActionJob(message.body)
  await publishDone(deps.outbox, job, 'action-failed', failure.message)
  deps.metrics.actions.inc({ action: job.action, outcome: 'failed' })
}

/**
 * Refuses to start where a deletion could hit newer bytes than those that were judged.
 * @throws FatalError with the three ways out.
 */
export async function refuseRacyDeletes(
  buckets: readonly string[],
  deletes: boolean,
  deps: UnversionedDependencies,
): Promise<void> {
  if (!deletes || deps.deleteUnversioned === 'accept-race') return
  for (const bucket of buckets) {
    const probed = await readProbe(bucket, deps)
    if (probed !== undefined && !probed.versioned && !probed.deleteIfMatch) throw racyDelete(bucket)
  }
}

/** What `init object-store` found out about a bucket; unknown counts as unsafe. */
async function readProbe(
  bucket: string,
  deps: UnversionedDependencies,
): Promise<BucketProbe | undefined> {
  const text = await deps.store.readText(deps.recordsBucket, bucketProbeKey(bucket))
  return text === undefined ? undefined : (JSON.parse(text) as BucketProbe)
}

/**
 * What is to be deleted, by the name that deletes it for good: in a versioned bucket a version from before versioning is `null`,
 * and without that name it would only get a delete marker and stay readable.
 * @throws FatalError where newer bytes could be hit.
 */
async function deletable(
  object: ActionJob['object'],
  deps: UnversionedDependencies,
): Promise<ActionJob['object']> {
  const { bucket, versionId } = object
  if (!isOverwritable(versionId)) return object
  const probe = await readProbe(bucket, deps)
  // While versioning is on, nobody overwrites that version.
  if (probe?.versioned === true) return { ...object, versionId: nullVersion }
  if (deps.deleteUnversioned !== 'accept-race' && probe?.deleteIfMatch !== true)
    throw racyDelete(bucket)
  return object
}

function racyDelete(bucket: string): FatalError {
  return new FatalError(
    `the bucket "${bucket}" is unversioned and its store deletes whatever is there, so a newer, clean object could be deleted`,
    'turn versioning on, or only tag (DELETE_FILE=false), or accept the race (DELETE_UNVERSIONED=accept-race); then run `init object-store`',
  )
}

async function remove(
  job: ActionJob,
  deps: ActionDependencies,
): Promise<'done' | 'already gone' | 'overwritten'> {
  const { store } = deps
  const object = await deletable(job.object, deps)
  const { bucket, key, versionId, etag } = object
  try {
    // The store answers 204 for a version that never was: look first, so that "deleted" is true.
    const present = await goneTwice(() => store.head({ bucket, key, versionId }))
    if (present.etag !== etag) return 'overwritten'
    reached('action', 'deleting')
    await store.remove({ bucket, key, versionId, etag })
    reached('action', 'deleted')
    // VersityGW answers 204 and deletes nothing while it deletes another version of the same key.
    if (await isThere(object, store))
      throw new Error(`the store says that it deleted ${bucket}/${key}, and it is still there`)
    return 'done'
  } catch (error) {
    if (error instanceof ObjectGoneError) return 'already gone'
    if (error instanceof ObjectChangedError) return 'overwritten'
    throw error
  }
}

async function isThere(object: ActionJob['object'], store: ObjectStore): Promise<boolean> {
  const { bucket, key, versionId, etag } = object
  try {
    return (await goneTwice(() => store.head({ bucket, key, versionId }))).etag === etag
  } catch (error) {
    if (error instanceof ObjectGoneError) return false
    throw error
  }
}
