// Which version a job means, and what to do when it is no longer what it was.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Marks } from './marks.ts'
import type { Marked } from '../shared/proven.ts'
import type { Metrics } from './metrics.ts'
import { ObjectChangedError, ObjectGoneError } from '../shared/errors.ts'
import type { ObjectRef, ScanJob } from '../shared/messages.ts'
import type { ObjectStore, OpenObject } from '../shared/object-store.ts'

export interface VersionDependencies {
  store: ObjectStore
  marks: Marks
  metrics: Metrics
  buckets: readonly string[]
}

/**
 * The versions that a job means. Without a versionId (VersityGW never names one; unversioned buckets have none) it is every
 * version of the key with the event's etag that has no proof yet, for two uploads of the same bytes have two events.
 */
export async function findVersions(
  job: ScanJob,
  again: boolean,
  deps: VersionDependencies,
): Promise<ObjectRef[]> {
  const { bucket, key, versionId, etag } = job.object
  if (!deps.buckets.includes(bucket)) {
    deps.metrics.dropped.inc({ why: 'foreign bucket' })
    return []
  }
  if (versionId !== undefined) return [job.object]
  const found: { object: ObjectRef; facts: Marked['facts'] }[] = []
  for await (const version of deps.store.versions(bucket, listedKey(key))) {
    if (version.deleteMarker || (key !== '' && version.key !== listedKey(key))) continue
    if (etag !== undefined && version.etag !== etag) continue
    const object = {
      bucket,
      key: key === '' ? version.key : key,
      versionId: version.versionId,
      etag: version.etag,
      previous: job.object.previous,
    }
    found.push({ object, facts: { ...version, tagCount: 1 } })
  }
  // Not listed: gone, or overwritten on an unversioned bucket. The GET will tell.
  if (found.length === 0) return key === '' ? [] : [job.object]
  if (again || (found.length === 1 && key !== '')) return found.map(({ object }) => object)
  const unproven: ObjectRef[] = []
  for (const { object, facts } of found) {
    const proven = await deps.marks.proven({ bucket, key: object.key, facts }).catch(ignoreGone)
    if (proven === undefined) unproven.push(object)
  }
  return unproven
}

/** VersityGW's keys are paths: it lists `a//b` as `a/b`. Elsewhere such a key has a versionId or is not found, and the GET tells. */
function listedKey(key: string): string {
  return key.replaceAll(/\/{2,}/g, '/')
}

/** Time enough for VersityGW to put the older version in the place of a deleted one. */
const lookAgainMs = 100

/**
 * On an unversioned bucket other bytes may be there by now: then they are the job. A version is gone only when it is gone
 * twice: while VersityGW deletes the current version of a key, it calls the others gone as well.
 */
export async function openCurrent(
  store: ObjectStore,
  object: ObjectRef,
  signal: AbortSignal,
): Promise<OpenObject> {
  try {
    return await store.open(object, signal)
  } catch (error) {
    if (error instanceof ObjectChangedError)
      return store.open({ bucket: object.bucket, key: object.key }, signal)
    if (!(error instanceof ObjectGoneError) || object.versionId === undefined) throw error
    await sleep(lookAgainMs, undefined, { signal })
    return store.open(object, signal)
  }
}

/** For `catch`: an object that is gone or changed is undefined, everything else rises. */
export function ignoreGone(error: unknown): undefined {
  if (error instanceof ObjectGoneError || error instanceof ObjectChangedError) return undefined
  throw error
}
