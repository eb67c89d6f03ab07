// Sweeps over a store in memory, for what a real store cannot be asked for: odd answers, and failures at a chosen call.
import { expect } from 'chai'
import { Sweeper } from '../../../services/reconciler/sweeper.ts'
import {
  addSweep,
  newSweep,
  openState,
  type StateFile,
} from '../../../services/reconciler/state.ts'
import { FatalError, PublishError, StoreUnavailableError } from '../../../services/shared/errors.ts'
import type { Publication } from '../../../services/shared/broker.ts'
import { silentLog } from '../../../services/shared/log.ts'
import { decodeJobs, type ScanJob } from '../../../services/shared/messages.ts'
import { Proofs, type Marked } from '../../../services/shared/proven.ts'
import { writeProof } from '../../../services/shared/proof.ts'
import { UsableBuckets } from '../../../services/shared/usable-buckets.ts'
import { eventually } from '../../support/eventually.ts'
import {
  fakeObjectStore,
  type FakeObjectStore,
  type StoredVersion,
} from '../../support/fake-object-store.ts'

const bucket = 'uploads'
const recordsBucket = 'avscan-records'
const proofKey = 'k'.repeat(32)

const prove = (
  version: StoredVersion,
  verdict: string,
  reason = 0,
  signatureVersion = '100',
  judgedAt = version.lastModified,
) => {
  const facts = { ...version, size: version.bytes.length, verdict }
  const times = { judgedAt, firstJudgedAt: judgedAt }
  const proof = { reason, signatureVersion, ...times, event: '', content: '' }
  version.tags = { scanned: verdict, 'scanned-proof': writeProof(facts, proof, proofKey) }
}

const later = '2100-01-01T00:00:00.000Z'

describe('a sweep', () => {
  let store: FakeObjectStore
  let state: StateFile
  let jobs: ScanJob[]
  let publish: (publication: Publication) => Promise<void>
  let depth = 0
  let stop: AbortController
  let usable: UsableBuckets
  const asked: string[] = []
  const running: Promise<void>[] = []

  beforeEach(() => {
    store = fakeObjectStore()
    store.keysPerPage = 3
    jobs = []
    depth = 0
    asked.length = 0
    publish = async ({ body }) => void jobs.push(...decodeJobs(body))
  })
  afterEach(async () => {
    stop?.abort(new Error('the test is over'))
    await Promise.all(running.splice(0))
  })

  class LoggedProofs extends Proofs {
    override proven(object: Marked) {
      asked.push(object.key)
      return super.proven(object)
    }
  }

  /** The sweeper of a process; the one before is as good as killed. */
  const start = async (options: { buckets?: string[]; intervalMs?: number } = {}) => {
    stop?.abort(new Error('killed'))
    stop = new AbortController()
    const { signal } = stop
    state = await openState(store, recordsBucket, silentLog)
    usable = new UsableBuckets(options.buckets ?? [bucket], store, silentLog)
    const publisher = { connected: true, publish: (one: Publication) => publish(one) }
    const sweeper = new Sweeper({
      store,
      state,
      proofs: new LoggedProofs(store, {
        tags: true,
        tagKey: 'scanned',
        recordsBucket,
        proofKey,
        oldProofKeys: [],
      }),
      bulk: { queue: 'bulk', publisher, log: silentLog, signal },
      buckets: usable,
      deletes: true,
      intervalMs: options.intervalMs ?? 0,
      depth: async () => depth,
      onQueued: () => {},
      onSeen: () => {},
      onRunning: () => {},
      onFinished: () => {},
      log: silentLog,
      signal,
    })
    running.push(sweeper.run())
    return sweeper
  }
  const finished = (count = 1) =>
    eventually(() => state.current.finished.length >= count && state.current.sweeps.length === 0)
  const swept = () => jobs.map(({ object }) => `${object.bucket}/${object.key}`)
  const keys = () => jobs.map(({ object }) => object.key)
  const put = (key: string, content = 'x') => store.put(bucket, key, content)
  const putMany = (count: number) =>
    Array.from({ length: count }, (_, index) => put(`o${String(index).padStart(2, '0')}`))

  it('queues exactly what has no proven verdict, each version as a job of its own', async () => {
    const [a, b, c, d] = [put('a'), put('b'), put('c', '1'), put('c', '2')]
    prove(a, 'clean')
    b.tags = {
      scanned: 'clean',
      'scanned-proof': '2.0.100.20261121T040002345Z.20261121T040002345Z...AAAAAAAAAAAAAAAAAAAAAA',
    }
    prove(d, 'clean')
    store.put(bucket, 'folder/', '')

    const sweeper = await start()
    await finished()

    expect(jobs).to.deep.equal(
      [b, c].map(({ key, versionId, etag }) => ({
        object: { bucket, key, versionId, etag, size: 1 },
        trigger: { kind: 'sweep', id: state.current.finished[0]?.id },
      })),
    )
    expect(sweeper.facts).to.include({ running: false, seen: 5, queued: 2, total: 5 })
  })

  it('goes through all buckets', async () => {
    put('a')
    store.put('second', 'b', 'x')
    await start({ buckets: [bucket, 'second'] })
    await finished()

    expect(swept()).to.deep.equal(['uploads/a', 'second/b'])
  })

  describe('of a bucket that is gone or refused', () => {
    let missing: boolean
    beforeEach(() => {
      missing = false
      put('a')
      store.put('second', 'b', 'x')
      store.put('third', 'c', 'x')
      store.ping = async (name) => {
        if (missing && name === 'second') throw new FatalError('second: NoSuchBucket', 'make it')
      }
      store.before = (call) => {
        if (call !== 'versions' || state?.current.sweeps[0]?.cursor?.bucket !== 'second') return
        if (missing) throw new Error('NoSuchBucket')
      }
    })
    const all = [bucket, 'second', 'third']

    it('goes on with the others', async () => {
      missing = true
      await start({ buckets: all })
      await finished()

      expect(new Set(swept())).to.deep.equal(new Set(['uploads/a', 'third/c']))
    })

    it('comes when the bucket is back, of that bucket alone', async () => {
      missing = true
      await start({ buckets: all })
      await finished()
      jobs.length = 0
      missing = false
      await usable.probe()
      await state.change(() => {})
      await finished(2)

      expect(swept()).to.deep.equal(['second/b'])
    })

    it('does not end where the store only failed for a moment', async () => {
      let failures = 2
      store.before = (call) => {
        if (call === 'versions' && failures-- > 0) throw new Error('odd answer')
      }
      await start({ buckets: all })
      await finished()

      expect(swept()).to.deep.equal(['uploads/a', 'second/b', 'third/c'])
    })
  })

  describe('of a bucket that is configured later', () => {
    beforeEach(async () => {
      put('a')
      store.put('second', 'b', 'x')
      await start()
      await finished()
      jobs.length = 0
    })

    it('comes at once, and of that bucket alone', async () => {
      await start({ buckets: ['second', bucket] })
      await finished(2)

      expect(swept()).to.deep.equal(['second/b'])
      expect(state.current.finished.at(-1)?.reason).to.equal('first sweep of second')
      expect(state.current.full?.seen).to.equal(1)
    })

    it('comes also when the process is killed before it has begun, and once', async () => {
      store.before = (call) => {
        if (call === 'versions') throw new StoreUnavailableError('away')
      }
      await start({ buckets: [bucket, 'second'] })
      await eventually(() => state.current.sweeps.length > 0)
      store.before = () => {}
      await start({ buckets: [bucket, 'second'] })
      await finished(2)
      await start({ buckets: [bucket, 'second'] })
      await state.change((draft) => addSweep(draft, newSweep({ reason: 'gap', since: later })))
      await finished(3)

      expect(swept()).to.deep.equal(['second/b'])
    })

    it('comes again when it was dropped in between', async () => {
      await start({ buckets: [bucket, 'second'] })
      await finished(2)
      await start()
      await eventually(() => state.current.buckets.length === 1)
      await start({ buckets: [bucket, 'second'] })
      await finished(3)

      expect(swept()).to.deep.equal(['second/b', 'second/b'])
    })

    it('ends when it is dropped before its turn', async () => {
      await start()
      await state.change((draft) =>
        addSweep(draft, newSweep({ reason: 'first sweep of third', bucket: 'third' })),
      )
      await finished(2)

      expect(swept()).to.deep.equal([])
    })
  })

  it('goes on where it was after a kill: nothing is left out, and one page at most comes twice', async () => {
    putMany(12)
    await start()
    let count = 0
    publish = async ({ body }) => {
      // In the middle of the third page.
      if (++count === 8) stop.abort(new Error('killed'))
      if (count >= 8) throw new PublishError('killed')
      jobs.push(...decodeJobs(body))
    }
    await running[0]
    const firstLife = keys()
    publish = async ({ body }) => void jobs.push(...decodeJobs(body))
    await start()
    await finished()

    expect(firstLife).to.have.length(7)
    expect(new Set(keys())).to.have.length(12)
    expect(keys()).to.have.length(13)
  })

  it('ends in the state, not in a second round, when it is killed behind the last page', async () => {
    putMany(3)
    await start()
    await finished()
    await start()

    expect(state.current.sweeps).to.deep.equal([])
  })

  it('repeats no page and leaves none out while the store comes and goes', async () => {
    putMany(10)
    const failing = new Map([
      ['versions', 2],
      ['tags', 3],
      ['writeText', 6],
    ])
    const counts = new Map<string, number>()
    for (const version of store.all) prove(version, 'unscanned')
    store.before = (call) => {
      const count = (counts.get(call) ?? 0) + 1
      counts.set(call, count)
      if (failing.get(call) === count) throw new StoreUnavailableError('away')
    }
    await start()
    await finished()

    expect(keys().toSorted()).to.deep.equal(store.all.map(({ key }) => key))
  })

  it('is not stopped by an object for which the store answers oddly: it is queued', async () => {
    const versions = putMany(5)
    for (const version of versions) prove(version, 'clean')
    store.before = (call, { key }) => {
      if (call === 'tags' && key === 'o01') throw new Error('no word of S3')
    }
    await start()
    await finished()

    expect(keys()).to.deep.equal(['o01'])
  })

  it('is not stopped by an object for which a healthy store has nothing but errors', async () => {
    const versions = putMany(5)
    for (const version of versions) prove(version, 'clean')
    store.before = (call, { key }) => {
      if (call === 'tags' && key === 'o01') throw new StoreUnavailableError('500')
    }
    await start()
    await finished()

    expect(keys()).to.deep.equal(['o01'])
  })

  it('makes nothing of a version that vanishes while it looks', async () => {
    putMany(4)
    store.before = (call, { key }) => {
      if (call !== 'tags' || key !== 'o02') return
      store.all.splice(0, store.all.length, ...store.all.filter((one) => one.key !== 'o02'))
    }
    for (const version of store.all) prove(version, 'no', 199)
    await start()
    await finished()

    expect(keys()).to.deep.equal(['o00', 'o01', 'o03'])
  })

  it('keeps the job until the broker has it', async () => {
    putMany(7)
    let failures = 3
    publish = async ({ body }) => {
      if (failures-- > 0) throw new PublishError('not confirmed')
      jobs.push(...decodeJobs(body))
    }
    await start()
    await finished()

    expect(keys().toSorted()).to.deep.equal(store.all.map(({ key }) => key))
  })

  it('rests while the bulk lane is full', async () => {
    putMany(4)
    depth = 5001
    const sweeper = await start()
    await eventually(() => /5001 jobs wait/.test(sweeper.facts?.paused ?? ''))
    const meanwhile = jobs.length
    depth = 5000
    await finished()

    expect(meanwhile).to.equal(0)
    expect(jobs.length).to.equal(4)
  })

  it('lets one that follows a gap go before one of everything', async () => {
    const versions = putMany(9)
    depth = 5001
    await start()
    const since = versions.at(-1)?.lastModified.toISOString() ?? ''
    await state.change((draft) => addSweep(draft, newSweep({ reason: 'gap', since })))
    depth = 0
    await finished(2)

    expect(keys()).to.deep.equal(['o08', ...versions.map(({ key }) => key)])
    expect(asked.filter((key) => key === 'o00').length, 'asked for what is older').to.equal(1)
  })

  it('sends a re-scan with the verdict before', async () => {
    const [old, current, bare] = putMany(3)
    if (old !== undefined) prove(old, 'clean', 0, '99')
    if (current !== undefined) prove(current, 'clean', 0, '100')
    await start()
    await finished()
    jobs.length = 0
    await state.change((draft) =>
      addSweep(
        draft,
        newSweep({ kind: 'rescan', reason: 'signatures 100', signatureVersion: '100' }),
      ),
    )
    await finished(2)

    expect(bare?.tags).to.deep.equal({})
    expect(jobs.map(({ object, trigger }) => [object.key, object.previous, trigger])).to.deep.equal(
      [['o00', 'clean', { kind: 'rescan', id: '100' }]],
    )
  })

  it('sweeps everything again when the interval is over, and only then', async () => {
    putMany(1)
    await start({ intervalMs: 300 })
    await eventually(() => state.current.finished.length >= 3)

    const starts = state.current.finished.map(({ startedAt = '' }) => Date.parse(startedAt))
    const gaps = starts.slice(1).map((time, index) => time - (starts[index] ?? 0))
    expect(Math.min(...gaps)).to.be.at.least(299)
  })
})
