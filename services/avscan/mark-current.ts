// Marking without hitting newer bytes: where a key has one place only (unversioned, or the version called `null`) it may hold
// others by now, and tags ignore If-Match everywhere.
import type { Mark, Marks } from './marks.ts'
import { requestScan, type Outbox } from './outbox.ts'
import { ObjectChangedError } from '../shared/errors.ts'
import { isOverwritable, nullVersion } from '../shared/messages.ts'
import type { ObjectFacts, ObjectStore } from '../shared/object-store.ts'
import type { Marked } from '../shared/proven.ts'

export interface MarkDependencies {
  store: ObjectStore
  marks: Marks
  outbox: Outbox
}

/** Writes the mark if these bytes are still there, and has others that are there instead scanned. @throws as Marks.write does. */
export async function markCurrent(
  marked: Marked,
  mark: Mark,
  { store, marks, outbox }: MarkDependencies,
): Promise<void> {
  const { bucket, key, facts } = marked
  if (!isOverwritable(facts.versionId)) return marks.write(marked, mark)
  // Looked at before as well: tagging replaces the newer object's own tags.
  let present = await moved(marked, store)
  if (present === undefined) {
    try {
      await marks.write(marked, mark)
      present = await moved(marked, store)
    } catch (error) {
      if (!(error instanceof ObjectChangedError)) throw error
      present = await store.head({ bucket, key })
      // The one that was meant lies behind it, without its verdict.
      await requestScan(outbox, { bucket, key, versionId: nullVersion, etag: facts.etag })
    }
  }
  if (present === undefined) return
  const { versionId } = present
  await marks.withdraw({ bucket, key, facts: present })
  await requestScan(outbox, { bucket, key, versionId })
}

/** Other bytes that are at that place by now. */
async function moved(
  { bucket, key, facts }: Marked,
  store: ObjectStore,
): Promise<ObjectFacts | undefined> {
  const { versionId, etag, lastModified } = facts
  const present = await store.head({ bucket, key, versionId })
  const same =
    present.etag === etag &&
    present.versionId === versionId &&
    Math.floor(present.lastModified.getTime() / 1000) === Math.floor(lastModified.getTime() / 1000)
  return same ? undefined : present
}
