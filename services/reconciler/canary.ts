// The end-to-end canary: an object goes into the bucket, its event through store and broker to a worker, and its proven verdict
// comes back. One pass shows that everything on the way works.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { canaryContent, isCanary, reconcilerCanary } from '../shared/canary-objects.ts'
import type { ObjectStore } from '../shared/object-store.ts'
import { recordKey, type Marked, type Proofs, type Proven } from '../shared/proven.ts'

export interface CanaryDependencies {
  store: Pick<ObjectStore, 'writeText' | 'head' | 'remove' | 'versions'>
  proofs: Pick<Proofs, 'proven'>
  recordsBucket: string
  /** Whether jobs wait before the canary's: then it is late, and nothing is lost. */
  isBacklogged: () => Promise<boolean>
  timeoutMs: number
  /** Called once when it takes longer than the timeout. */
  onLate: () => void
}

export interface CanaryPass {
  seconds: number
  /** When the store says that it came. */
  uploadedAt: Date
  proven: Proven
}

/** However long the backlog, after this nobody believes in it any more. */
const longestMs = 30 * 60_000
const pollMs = { first: 50, most: 1000 }

/** One canary through one bucket; removes what it put there. @throws Error in words when there is no verdict, and the signal's reason. */
export async function runCanary(
  bucket: string,
  deps: CanaryDependencies,
  signal: AbortSignal,
): Promise<CanaryPass> {
  const { store } = deps
  const key = reconcilerCanary(randomUUID())
  const begun = performance.now()
  let marked: Marked | undefined
  try {
    await store.writeText(bucket, key, canaryContent(key).toString())
    marked = { bucket, key, facts: { ...(await store.head({ bucket, key })), tagCount: 1 } }
    const proven = await waitForVerdict(marked, begun, deps, signal)
    const seconds = (performance.now() - begun) / 1000
    return { seconds, uploadedAt: marked.facts.lastModified, proven }
  } finally {
    if (marked === undefined) await removeLeftovers(bucket, store, key).catch(() => {})
    else await remove(marked, deps)
  }
}

async function waitForVerdict(
  marked: Marked,
  begun: number,
  deps: CanaryDependencies,
  signal: AbortSignal,
): Promise<Proven> {
  const { proofs, isBacklogged, timeoutMs, onLate } = deps
  let deadline = begun + timeoutMs
  let isLate = false
  for (let pauseMs = pollMs.first; ; pauseMs = Math.min(pauseMs * 2, pollMs.most)) {
    const proven = await proofs.proven(marked)
    if (proven !== undefined) return proven
    const now = performance.now()
    if (now >= deadline) {
      if (!isLate) onLate()
      isLate = true
      // Without events the queue runs empty: only then is one missing.
      if (now - begun >= longestMs || !(await isBacklogged()))
        throw new Error(`no verdict within ${Math.round((now - begun) / 1000)} s`)
      deadline = now + timeoutMs
    }
    await sleep(pauseMs, undefined, { signal })
  }
}

async function remove(
  marked: Marked,
  { store, recordsBucket }: Pick<CanaryDependencies, 'store' | 'recordsBucket'>,
): Promise<void> {
  const { bucket, key, facts } = marked
  const { versionId, etag } = facts
  await store.remove({ bucket, key, versionId, etag }).catch(() => {})
  // Where tags are off each canary leaves a record. Not ours to delete on every store.
  await store.remove({ bucket: recordsBucket, key: recordKey(marked) }).catch(() => {})
}

/** Takes away the canaries of a process that was killed; what somebody else has put there stays. */
export async function removeLeftovers(
  bucket: string,
  store: Pick<ObjectStore, 'remove' | 'versions'>,
  prefix = reconcilerCanary('').replace(/[^/]*$/, ''),
): Promise<void> {
  for await (const { key, versionId, deleteMarker, etag } of store.versions(bucket, prefix))
    if (!deleteMarker && isCanary(key, { md5: etag }))
      await store.remove({ bucket, key, versionId, etag })
}
