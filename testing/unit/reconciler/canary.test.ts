import { randomUUID } from 'node:crypto'
import { expect } from 'chai'
import { CanaryLoop } from '../../../services/reconciler/canary-loop.ts'
import { runCanary, type CanaryDependencies } from '../../../services/reconciler/canary.ts'
import { Flow } from '../../../services/reconciler/flow.ts'
import { openState } from '../../../services/reconciler/state.ts'
import { silentLog } from '../../../services/shared/log.ts'
import {
  canaryContent,
  canaryPrefix,
  reconcilerCanary,
} from '../../../services/shared/canary-objects.ts'
import type { Marked, Proven } from '../../../services/shared/proven.ts'
import { eventually } from '../../support/eventually.ts'
import { fakeObjectStore, type FakeObjectStore } from '../../support/fake-object-store.ts'
import { rejection } from '../../support/rejection.ts'

const bucket = 'uploads'
const never = new AbortController().signal
const at = new Date('2026-11-21T12:00:00Z')
const clean: Proven = {
  tag: 'clean',
  reason: 0,
  signatureVersion: '100',
  judgedAt: at,
  firstJudgedAt: at,
  event: '',
  content: '',
}

const gauge = (set: (value: number) => void) => ({ set }) as never

describe('the end-to-end canary', () => {
  let store: FakeObjectStore
  let answer: (object: Marked) => Proven | undefined
  let isBacklogged = false
  let late = 0
  beforeEach(() => {
    store = fakeObjectStore()
    // The fake keeps what is written as text apart from objects.
    store.writeText = async (into, key, content) => {
      store.before('writeText', { bucket: into, key })
      return store.put(into, key, content).etag
    }
    answer = () => clean
    isBacklogged = false
    late = 0
  })
  const deps = (timeoutMs = 60): CanaryDependencies => ({
    store,
    proofs: { proven: async (object) => answer(object) },
    recordsBucket: 'avscan-records',
    isBacklogged: async () => isBacklogged,
    timeoutMs,
    onLate: () => late++,
  })

  it('passes with the proven verdict, says when the store took it, and takes it away', async () => {
    let seen: Marked | undefined
    answer = (object) => ((seen = object), clean)

    const pass = await runCanary(bucket, deps(), never)

    expect(pass.proven).to.equal(clean)
    expect(pass.uploadedAt).to.deep.equal(seen?.facts.lastModified)
    expect(seen?.key.startsWith(canaryPrefix)).to.equal(true)
    expect(store.all).to.deep.equal([])
  })

  it('fails without a verdict in time, and takes it away', async () => {
    answer = () => undefined

    const error = await rejection(runCanary(bucket, deps(), never))

    expect(error.message).to.match(/no verdict within/)
    expect(store.all).to.deep.equal([])
  })

  it('waits on while other jobs are before it, and says that it is late', async () => {
    isBacklogged = true
    answer = () => undefined
    const running = runCanary(bucket, deps(), never)
    await eventually(() => late === 1)
    answer = () => clean

    expect((await running).proven).to.equal(clean)
  })

  it('takes away what a store took without saying so', async () => {
    store.before = (call) => {
      if (call === 'head') throw new Error('cut')
    }

    await rejection(runCanary(bucket, deps(), never))

    expect(store.all).to.deep.equal([])
  })

  describe('sent at its interval', () => {
    let stop: AbortController
    let running: Promise<void>
    beforeEach(() => {
      stop = new AbortController()
    })
    afterEach(async () => {
      stop.abort(new Error('the test is over'))
      await running
    })
    const start = async (intervalMs: number) => {
      const state = await openState(store, 'avscan-records', silentLog)
      const up: number[] = []
      const flow = new Flow({
        state,
        marginMs: 0,
        everyMs: 1_000_000,
        isIdle: async () => true,
        onGap: () => {},
        log: silentLog,
      })
      const metrics = {
        canaryUp: gauge((value) => up.push(value)),
        canarySeconds: gauge(() => {}),
      }
      const loop = new CanaryLoop(deps(), {
        buckets: { names: [bucket] },
        intervalMs,
        flow,
        metrics,
        log: silentLog,
      })
      running = loop.run(stop.signal)
      return { flow, loop, up }
    }

    it('opens a gap when it fails and closes it when it passes', async () => {
      const { flow, loop, up } = await start(10)
      await eventually(() => flow.isWell)
      answer = () => undefined
      await eventually(() => loop.facts.state === 'failing')
      const gap = flow.facts.gap
      answer = () => clean
      await eventually(() => loop.facts.state === 'passing')

      expect(gap).to.include('the end-to-end canary failed')
      expect(flow.isWell).to.equal(true)
      expect(up.slice(-1)).to.deep.equal([1])
      expect(up).to.include(0)
    })

    it('is not well with another verdict than clean, though events flow', async () => {
      answer = () => ({ ...clean, tag: 'unscanned' })
      const { flow, loop, up } = await start(10)
      await eventually(() => flow.isWell)

      expect(loop.facts).to.deep.equal({ state: 'failing', why: 'judged "unscanned"' })
      expect(up.at(-1)).to.equal(0)
    })

    it('looks again at once when something goes wrong between two of them', async () => {
      const { flow } = await start(1_000_000)
      await eventually(() => flow.isWell)
      flow.lost('the object store went away')

      await eventually(() => flow.isWell)
    })

    it('takes away what a process that was killed has left', async () => {
      const key = reconcilerCanary(randomUUID())
      store.put(bucket, key, canaryContent(key))
      const { flow } = await start(1_000_000)
      await eventually(() => flow.isWell)

      await eventually(() => store.all.every(({ bucket: of }) => of !== bucket))
    })

    it('leaves what somebody else has put beside them', async () => {
      const name = store.put(bucket, `${canaryPrefix}reconciler/theirs.txt`, 'x')
      const content = store.put(bucket, reconcilerCanary(randomUUID()), 'x')
      const own = reconcilerCanary(randomUUID())
      store.put(bucket, own, canaryContent(own))
      const { flow } = await start(1_000_000)
      await eventually(() => flow.isWell)

      await eventually(() => {
        const left = store.all.filter(({ bucket: of }) => of === bucket)
        expect(left).to.deep.equal([name, content])
      })
    })
  })
})
