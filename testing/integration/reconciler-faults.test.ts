// The real reconciler while it is killed, or broker or store are, in the middle of a sweep; and what it does when events stop.
import { expect } from 'chai'
import type { ScanJob } from '../../services/shared/messages.ts'
import { canaryPrefix } from '../../services/shared/canary-objects.ts'
import { eventually } from '../support/eventually.ts'
import { noMinio, storeFlavours } from '../support/real-store.ts'
import { openReconciler, type Put, type ReconcilerBench } from '../support/run-reconciler.ts'
import { noTlsRabbitmq, startOwnTlsRabbitmq, type TlsRabbitmq } from '../support/tls-rabbitmq.ts'

if (noMinio !== undefined) console.log(`skipped: faults of the reconciler on MinIO: ${noMinio}`)

const buckets = ['storagebucket', 'secondbucket', 'thirdbucket']
// The page of a listing holds more, so each bucket is a page.
const perBucket = 150
const nameOf = ({ object: { bucket, key } }: ScanJob) => `${bucket}/${key}`
const named = ({ bucket, key }: Put) => `${bucket}/${key}`

for (const flavour of storeFlavours) {
  describe(`a sweep on ${flavour}, in the middle of which`, function () {
    this.timeout(240_000)
    let bench: ReconcilerBench
    let broker: TlsRabbitmq
    let objects: string[]

    before(async function () {
      if (noTlsRabbitmq !== undefined) {
        console.log(`      skipped: ${noTlsRabbitmq}`)
        this.skip()
      }
      broker = await startOwnTlsRabbitmq()
      bench = await openReconciler({
        flavour,
        broker,
        env: { MINIO_BUCKET_NAME: buckets.join(',') },
      })
      const keys = Array.from({ length: perBucket }, (_, index) => `object-${index}`)
      const put = await Promise.all(buckets.map((bucket) => bench.putMany(keys, bucket)))
      objects = put.flat().map(named).toSorted()
      await bench.begin()
      await bench.idle()
      await broker.keepQueues()
    })
    after(async () => {
      await bench?.close()
      await broker?.kill()
    })

    /** Starts a sweep, does `fault` when the first bucket is done, and returns all jobs that came out. */
    const sweepWith = async (id: string, fault: () => Promise<unknown>) => {
      await bench.take(bench.queues.bulk)
      const drained = await bench.drain(bench.queues.bulk)
      await bench.askForSweep(id)
      await eventually(() => drained.jobs.length > perBucket, { timeoutMs: 60_000, everyMs: 5 })
      await fault()
      const facts = await bench.swept(id)
      // The broker may be another one by now.
      const rest = await eventually(() => bench.take(bench.queues.bulk))
      await drained.end()
      const jobs = [...drained.jobs, ...rest].map(nameOf)
      return { facts, jobs: jobs.filter((name) => !name.includes(canaryPrefix)) }
    }
    const expectAll = (jobs: string[]) =>
      expect([...new Set(jobs)].toSorted()).to.deep.equal(objects)

    it('it is killed: the next one goes on, leaves nothing out and repeats a page at most', async () => {
      const { jobs } = await sweepWith('killed', () => bench.begin())

      expectAll(jobs)
      expect(jobs.length).to.be.at.most(objects.length + perBucket)
    })

    it('the store is killed: it goes on when the store is back', async () => {
      const { jobs } = await sweepWith('store killed', async () => {
        await bench.server.kill()
        await eventually(async () => (await bench.facts()).sweep?.running === true)
        await bench.server.start()
      })

      expectAll(jobs)
      expect(jobs.length).to.be.at.most(objects.length + perBucket)
    })

    it('the store hangs: it goes on when the store does', async () => {
      const { jobs } = await sweepWith('store hung', async () => {
        bench.server.pause()
        const { sweep } = await bench.facts()
        expect(sweep?.running).to.equal(true)
        bench.server.resume()
      })

      expectAll(jobs)
    })

    it('the broker is killed: nothing is taken for queued that is not', async () => {
      const { jobs } = await sweepWith('broker killed', async () => {
        await broker.kill()
        await broker.start()
      })

      expectAll(jobs)
    })
  })

  describe(`the flow of events on ${flavour}`, function () {
    this.timeout(240_000)
    let bench: ReconcilerBench
    let broker: TlsRabbitmq

    before(async function () {
      if (noTlsRabbitmq !== undefined) {
        console.log(`      skipped: ${noTlsRabbitmq}`)
        this.skip()
      }
      broker = await startOwnTlsRabbitmq()
      bench = await openReconciler({
        flavour,
        broker,
        events: true,
        env: { CANARY_INTERVAL_MS: '1000', RECONCILE_AFTER_MS: '1000' },
      })
    })
    after(async () => {
      await bench?.close()
      await broker?.kill()
    })

    let worker: { end(): Promise<void> } | undefined
    afterEach(async () => {
      await bench?.kill()
      await worker?.end()
    })
    /** As a worker would, for canaries alone. */
    const judge = async () => {
      worker = await bench.drain(bench.queues.live, async ({ object }) => {
        if (!object.key.startsWith(canaryPrefix)) return
        const facts = await bench.store.head({ bucket: object.bucket, key: object.key })
        await bench.mark({ ...object, versionId: facts.versionId }, 'clean')
      })
    }
    const canaryIs = (state: string) =>
      eventually(
        async () => {
          const { canary, events } = await bench.facts()
          if (canary?.state !== state) throw new Error(JSON.stringify({ canary, events }))
        },
        { timeoutMs: 60_000 },
      )

    it('is known to be well by a canary that comes through and leaves nothing behind', async () => {
      await judge()
      await bench.begin()
      await canaryIs('passing')
      await bench.swept('gap: start')

      const seconds = await bench.metric('avscan_canary_seconds')
      expect(await bench.metric('avscan_canary_up')).to.equal(1)
      expect(seconds).to.be.within(0.001, 30)
    })

    it('is swept from before the store was killed, once a canary comes through again', async () => {
      await judge()
      await bench.begin()
      await canaryIs('passing')
      await bench.swept('gap: start')
      await bench.take(bench.queues.bulk)
      const { events: before } = await bench.facts()

      await bench.server.kill()
      await eventually(async () => (await bench.facts()).events?.gap.length !== 0)
      await bench.server.start()
      const lost = await bench.put('lost-event')
      const swept = await bench.swept('went away')

      const jobs = (await bench.take(bench.queues.bulk)).map(nameOf)
      expect(Date.parse(swept.since ?? '')).to.be.below(Date.parse(before?.coveredUntil ?? ''))
      expect(jobs).to.include(named(lost))
    })

    it('is not believed in while no verdict comes back: /readyz says so, and a sweep stands in', async () => {
      // Takes events and judges nothing, so that no backlog excuses the delay.
      const swallow = await bench.drain(bench.queues.live)
      await bench.begin()
      await canaryIs('failing')
      const { status, reasons } = await bench.facts()

      expect(status).to.equal('not ready')
      expect(reasons.join()).to.match(/canary fails: no verdict/)
      expect(await bench.metric('avscan_canary_up')).to.equal(0)
      await swallow.end()

      await judge()
      await canaryIs('passing')
      await bench.swept('gap: start, the end-to-end canary failed')
    })

    it('is late and not lost behind a backlog', async () => {
      const backlog = Array.from({ length: 30 }, (_, index) => `backlog-${index}`)
      await bench.putMany(backlog)
      await bench.begin()
      await canaryIs('late')
      const { status } = await bench.facts()
      await judge()
      await canaryIs('passing')

      expect(status).to.equal('ready')
      await bench.swept('gap: start')
      const { sweeps = [] } = await bench.facts()
      expect(sweeps.at(-1)?.reason).to.equal('gap: start')
    })

    it('is swept after the broker was away', async () => {
      await judge()
      await bench.begin()
      await canaryIs('passing')
      await bench.swept('gap: start')

      await broker.keepQueues()
      await broker.kill()
      await eventually(async () => (await bench.facts()).events?.gap.length !== 0)
      const lost = await bench.put('while-the-broker-was-away')
      await broker.start()
      // VersityGW does not come back to a broker by itself; the supervisor of a deployment restarts it.
      if (flavour === 'versitygw') {
        await bench.server.kill()
        await bench.server.start()
      }
      await judge()
      await canaryIs('passing')
      await bench.swept('the connection to the broker was lost')

      const jobs = (await bench.take(bench.queues.bulk)).map(nameOf)
      expect(jobs).to.include(named(lost))
    })

    it('leaves no canary in the bucket, whatever died', async () => {
      await judge()
      await bench.begin()
      await canaryIs('passing')
      await eventually(
        async () => {
          const left = await Array.fromAsync(bench.store.versions('storagebucket', canaryPrefix))
          // The one that is under way.
          expect(left.filter(({ deleteMarker }) => !deleteMarker).length).to.be.at.most(1)
        },
        { timeoutMs: 30_000 },
      )
    })
  })
}
