// The same object is not scanned twice side by side.
import { expect } from 'chai'
import { setTimeout as pause } from 'node:timers/promises'
import { InProgress } from '../../../services/avscan/in-progress.ts'
import { ObjectGoneError, RetryLaterError } from '../../../services/shared/errors.ts'
import { silentLog } from '../../../services/shared/log.ts'
import type { ObjectStore } from '../../../services/shared/object-store.ts'
import { identityHash, type Marked } from '../../../services/shared/proven.ts'
import { rejection } from '../../support/rejection.ts'
import { eventually } from '../../support/eventually.ts'

const now = new Date()
const facts = { etag: 'e', versionId: 'v', size: 1, lastModified: now, tagCount: 0, servedAt: now }
const marked = (key: string) => ({ bucket: 'b', key, facts }) as unknown as Marked

/** A records bucket, whose clock is `now` and whose objects are as old as they are told to be. */
function records(age: { ms: number }) {
  const kept = new Set<string>()
  const slow = { ms: 0 }
  const store = {
    head: async ({ key }: { key: string }) => {
      if (slow.ms > 0) await pause(slow.ms)
      if (!kept.has(key)) throw new ObjectGoneError(key)
      return { ...facts, lastModified: new Date(now.getTime() - age.ms) }
    },
    writeText: (_: string, key: string) => {
      kept.add(key)
      return Promise.resolve('e')
    },
    remove: ({ key }: { key: string }) => {
      kept.delete(key)
      return Promise.resolve()
    },
  } as unknown as ObjectStore
  return { kept, slow, worker: () => new InProgress(store, 'records', silentLog) }
}

describe('InProgress', () => {
  it('lets the second wait, without counting it, while this worker has the object in hand', async () => {
    const worker = records({ ms: 0 }).worker()
    const end = Promise.withResolvers<void>()
    const first = worker.run(marked('a'), true, () => end.promise)

    const error = await rejection(worker.run(marked('a'), false, () => Promise.resolve()))
    expect(error).to.be.instanceOf(RetryLaterError)
    expect((error as RetryLaterError).counted).to.equal(false)
    expect(await worker.run(marked('b'), false, () => Promise.resolve('other'))).to.equal('other')
    end.resolve()
    await first
    expect(await worker.run(marked('a'), false, () => Promise.resolve('free'))).to.equal('free')
  })

  it('tells other workers of a scan that takes long, and of its end', async () => {
    const age = { ms: 0 }
    const { kept, worker } = records(age)
    const end = Promise.withResolvers<void>()
    const first = worker().run(marked('a'), true, () => end.promise)
    await eventually(() => kept.size === 1, { timeoutMs: 10_000 })

    const other = worker()
    expect(
      await rejection(other.run(marked('a'), false, () => Promise.resolve())),
    ).to.be.instanceOf(RetryLaterError)
    // Whoever wrote it has not renewed it: that worker is dead.
    age.ms = 61_000
    expect(await other.run(marked('a'), false, () => Promise.resolve('free'))).to.equal('free')
    // Dated into the future it is nobody's of ours.
    kept.add(`scanning/${identityHash(marked('a'))}`)
    age.ms = -3_600_000
    expect(await other.run(marked('a'), false, () => Promise.resolve('free'))).to.equal('free')
    end.resolve()
    await first
    expect([...kept]).to.deep.equal([])
  }).timeout(20_000)

  it('leaves the record of the other worker where it is, also when the store takes long to show it', async () => {
    const { kept, worker, slow } = records({ ms: 0 })
    const end = Promise.withResolvers<void>()
    const first = worker().run(marked('a'), true, () => end.promise)
    await eventually(() => kept.size === 1, { timeoutMs: 10_000 })
    slow.ms = 2_500

    await rejection(worker().run(marked('a'), false, () => Promise.resolve()))
    expect(kept.size).to.equal(1)
    end.resolve()
    await first
  }).timeout(20_000)

  it('takes a key for the same that the store lists in another spelling', async () => {
    const worker = records({ ms: 0 }).worker()
    const end = Promise.withResolvers<void>()
    const first = worker.run(marked('a//b'), true, () => end.promise)

    expect(
      await rejection(worker.run(marked('a/b'), false, () => Promise.resolve())),
    ).to.be.instanceOf(RetryLaterError)
    end.resolve()
    await first
  })

  it('gives the object back when the work fails', async () => {
    const worker = records({ ms: 0 }).worker()
    const failing = worker.run(marked('a'), true, () => Promise.reject(new Error('broken')))
    expect((await rejection(failing)).message).to.equal('broken')
    expect(await worker.run(marked('a'), false, () => Promise.resolve('free'))).to.equal('free')
  })
})
