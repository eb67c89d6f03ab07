// Marking without hitting newer bytes: on an unversioned bucket a key may hold others by now, and tags ignore If-Match everywhere.
import type { Mark, Marks } from './marks.ts'
import { requestScan, type Outbox } from './outbox.ts'
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
  // Looked at before as well: tagging replaces the newer object's own tags.
  if ((await moved(marked, store)) === undefined) await marks.write(marked, mark)
  const present = await moved(marked, store)
  if (present === undefined) return
  const { bucket, key } = marked
  await marks.withdraw({ bucket, key, facts: present })
  await requestScan(outbox, { bucket, key })
}

/** Other bytes that are there by now; undefined where that cannot be, or is not so. */
async function moved(
  { bucket, key, facts }: Marked,
  store: ObjectStore,
): Promise<ObjectFacts | undefined> {
  if (facts.versionId !== undefined) return undefined
  const present = await store.head({ bucket, key })
  return present.etag === facts.etag || present.versionId !== undefined ? undefined : present
}
