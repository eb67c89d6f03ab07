// The end-to-end check: EICAR and a clean object go in under avscan-canary/, and must come out judged. Leaves nothing behind.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { canaryContent, smokeCanary } from '../shared/canary-objects.ts'
import { describeError, errorCode, FatalError, ObjectGoneError } from '../shared/errors.ts'
import type { ObjectRef } from '../shared/messages.ts'
import type { ObjectStore } from '../shared/object-store.ts'
import { openStore, openUploader } from './client.ts'
import type { Access } from './runtime.ts'

export interface CanaryOptions {
  tags: { enabled: boolean; key: string }
  deletes: boolean
  timeoutMs: number
}

export interface CanaryResult {
  infected: 'deleted' | 'tagged infected'
  infectedMs: number
  cleanMs: number
}

/** @throws FatalError saying which of the two got no, or the wrong, verdict. */
export async function runCanary(access: Access, options: CanaryOptions): Promise<CanaryResult> {
  const { tags, deletes, timeoutMs } = options
  if (!tags.enabled && !deletes)
    throw new FatalError(
      'TAG_FILES=false and DELETE_FILE=false: a verdict cannot be seen from outside',
      'turn one of them on',
    )
  const uploader = openUploader(access, access.canary)
  const store = openStore(access, access.canary)
  const run = randomUUID()
  const objects = [
    { name: 'EICAR', key: smokeCanary(run, 'eicar') },
    { name: 'clean', key: smokeCanary(run, 'clean') },
  ] as const
  const refs: ObjectRef[] = []
  try {
    const begun = Date.now()
    for (const { key } of objects) {
      const { versionId } = await uploader.put(key, canaryContent(key))
      refs.push({ bucket: access.bucket, key, ...(versionId === undefined ? {} : { versionId }) })
    }
    const [eicarRef, cleanRef] = refs as [ObjectRef, ObjectRef]
    const wait = (ref: ObjectRef, wanted: readonly Sight[]) =>
      waitFor(store, ref, tags.key, wanted, begun + timeoutMs)
    const infected = await wait(eicarRef, deletes ? ['gone'] : ['infected'])
    const infectedMs = Date.now() - begun
    if (infected !== 'gone' && infected !== 'infected') throw wrong('EICAR', infected, timeoutMs)
    if (!tags.enabled) return { infected: 'deleted', infectedMs, cleanMs: 0 }
    const clean = await wait(cleanRef, ['clean'])
    if (clean !== 'clean') throw wrong('a clean object', clean, timeoutMs)
    return {
      infected: infected === 'gone' ? 'deleted' : 'tagged infected',
      infectedMs,
      cleanMs: Date.now() - begun,
    }
  } finally {
    for (const ref of refs) await store.remove(ref).catch(() => {})
    store.close()
    uploader.close()
  }
}

type Sight = 'gone' | 'untagged' | (string & {})

/** What is to be seen of the object, once it is one of `wanted` or something no wait will change, or at the deadline. */
async function waitFor(
  store: ObjectStore,
  ref: ObjectRef,
  tagKey: string,
  wanted: readonly Sight[],
  deadline: number,
): Promise<Sight> {
  let seen: Sight = 'untagged'
  for (;;) {
    seen = await look(store, ref, tagKey)
    if (wanted.includes(seen) || Date.now() > deadline) return seen
    if (seen === 'no' || (seen === 'clean' && !wanted.includes('clean'))) return seen
    await sleep(100)
  }
}

async function look(store: ObjectStore, ref: ObjectRef, tagKey: string): Promise<Sight> {
  try {
    return (await store.tags(ref))[tagKey] ?? 'untagged'
  } catch (error) {
    if (error instanceof ObjectGoneError) return 'gone'
    // Its identity may read tags only where the store lets it; then presence must do.
    if (errorCode(error) !== 'AccessDenied') return `an error (${describeError(error)})`
    try {
      await store.head(ref)
      return 'untagged'
    } catch (missing) {
      return missing instanceof ObjectGoneError ? 'gone' : 'untagged'
    }
  }
}

function wrong(what: string, seen: Sight, timeoutMs: number): FatalError {
  const sight =
    seen === 'untagged' ? 'has no verdict' : seen === 'gone' ? 'is gone' : `is tagged "${seen}"`
  return new FatalError(
    `${what} ${sight} after at most ${timeoutMs / 1000} s`,
    'make status and make logs show where it is stuck',
  )
}
