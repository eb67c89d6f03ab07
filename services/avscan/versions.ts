// Which version a job means, and what to do when it is no longer what it was.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Alike } from './alike.ts'
import type { Marks } from './marks.ts'
import { stands, type Marked } from '../shared/proven.ts'
import type { Metrics } from './metrics.ts'
import { ObjectChangedError, ObjectGoneError } from '../shared/errors.ts'
import { goneTwice, lookAgainMs } from '../shared/gone-twice.ts'
import { isOverwritable, type ObjectRef, type ScanJob } from '../shared/messages.ts'
import type { ObjectStore, OpenObject } from '../shared/object-store.ts'

export interface VersionDependencies {
  store: ObjectStore
  marks: Marks
  metrics: Metrics
  buckets: readonly string[]
  alike: Alike<Found[]>
}

/**
 * The versions that a job means. Without a versionId (VersityGW never names one; unversioned buckets have none) it is every
 * version of the key with the event's etag that has no proof yet, for two uploads of the same bytes have two events. A proof from
 * before the event does not count where an upload overwrites.
 */
export async function findVersions(
  job: ScanJob,
  again: boolean,
  deps: VersionDependencies,
): Promise<ObjectRef[]> {
  const { bucket, key, versionId } = job.object
  if (!deps.buckets.includes(bucket)) {
    deps.metrics.dropped.inc({ why: 'foreign bucket' })
    return []
  }
  if (versionId !== undefined) return [job.object]
  let found = await deps.alike.list(job.object, () => listVersions(job, deps))
  if (found.length === 0) {
    // A listing, too, may come in the moment in which VersityGW moves a version.
    await sleep(lookAgainMs)
    found = await listVersions(job, deps)
  }
  // Not listed: gone, or overwritten on an unversioned bucket. The GET will tell.
  if (found.length === 0) return key === '' ? [] : [job.object]
  const { previous } = job.object
  const isEvent = job.trigger.kind === 'event'
  if (again || (found.length === 1 && key !== ''))
    return found.map(({ object }) => ({ ...object, previous }))
  const unproven: ObjectRef[] = []
  for (const { object, facts } of found) {
    if (isEvent && deps.alike.wasProven(object)) continue
    const proven = await deps.marks.proven({ bucket, key: object.key, facts }).catch(ignoreGone)
    if (!stands(proven, isOverwritable(object.versionId) ? job.trigger : {}))
      unproven.push({ ...object, previous })
    else deps.alike.note(object, 'proven')
  }
  return unproven
}

/**
 * Whether another event has had this version judged and told by now, here. Only where the event names no version: elsewhere it may be
 * about other bytes under the same name.
 */
export function isTold(job: ScanJob, object: ObjectRef, { alike }: VersionDependencies): boolean {
  return job.trigger.kind === 'event' && job.object.versionId === undefined && alike.wasTold(object)
}

export type Found = { object: ObjectRef; facts: Marked['facts'] }

/** Those of the job's key (an event of VersityGW's may name none) with its etag. */
async function listVersions(
  { object: { bucket, key, etag } }: ScanJob,
  { store }: VersionDependencies,
): Promise<Found[]> {
  const found: Found[] = []
  // An event of VersityGW's for a POST form names no key: it may be any in the bucket.
  const listed = key === '' ? store.versions(bucket, '') : store.versionsOf(bucket, listedKey(key))
  for await (const version of listed) {
    if (version.deleteMarker) continue
    if (etag !== undefined && version.etag !== etag) continue
    const object = {
      bucket,
      key: key === '' ? version.key : key,
      versionId: version.versionId,
      etag: version.etag,
    }
    found.push({ object, facts: { ...version, tagCount: 1 } })
  }
  return found
}

/** VersityGW's keys are paths: it lists `a//b` as `a/b`. Elsewhere such a key has a versionId or is not found, and the GET tells. */
function listedKey(key: string): string {
  return key.replaceAll(/\/{2,}/g, '/')
}

/** Where a key has one place only other bytes may be there by now: then they are the job. */
export async function openCurrent(
  store: ObjectStore,
  object: ObjectRef,
  signal: AbortSignal,
): Promise<OpenObject> {
  return orCurrent(object, (object) => goneTwice(() => store.open(object, signal), signal))
}

/** As `openCurrent`. Under an uploader's own key MinIO tells another etag than its event does, too. */
export async function headCurrent(
  store: ObjectStore,
  object: ObjectRef,
  signal: AbortSignal,
): ReturnType<ObjectStore['head']> {
  return orCurrent(object, (object) => goneTwice(() => store.head(object), signal))
}

async function orCurrent<T>(object: ObjectRef, ask: (object: ObjectRef) => Promise<T>): Promise<T> {
  try {
    return await ask(object)
  } catch (error) {
    if (!(error instanceof ObjectChangedError)) throw error
    const { bucket, key, versionId } = object
    return ask({ bucket, key, versionId })
  }
}

/** For `catch`: an object that is gone or changed is undefined, everything else rises. */
export function ignoreGone(error: unknown): undefined {
  if (error instanceof ObjectGoneError || error instanceof ObjectChangedError) return undefined
  throw error
}
