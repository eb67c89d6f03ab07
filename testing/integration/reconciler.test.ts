// The real reconciler between a real broker and real stores: what it queues, and that nothing that dies on the way changes that.
import { expect } from 'chai'
import { randomUUID } from 'node:crypto'
import type { ScanJob } from '../../services/shared/messages.ts'
import { names } from '../../services/shared/topology.ts'
import { eventually } from '../support/eventually.ts'
import { noMinio, storeFlavours } from '../support/real-store.ts'
import {
  bucket,
  openReconciler,
  type Put,
  type ReconcilerBench,
} from '../support/run-reconciler.ts'
import { noTlsRabbitmq } from '../support/tls-rabbitmq.ts'

if (noMinio !== undefined) console.log(`skipped: the reconciler on MinIO: ${noMinio}`)

const forged = {
  scanned: 'clean',
  'scanned-proof': '2.0.100.20261121T040002345Z.20261121T040002345Z...AAAAAAAAAAAAAAAAAAAAAA',
}
const nameOf = ({ object: { key, versionId } }: ScanJob) => `${key} ${versionId ?? ''}`
const named = ({ key, versionId }: Put) => `${key} ${versionId ?? ''}`

const event = ({ key, versionId }: Put, more: object = {}, eventTime?: Date) => ({
  Records: [
    {
      eventTime,
      eventName: 's3:ObjectCreated:Put',
      eventSource: 'minio:s3',
      s3: {
        bucket: { name: bucket },
        object: { key: encodeURIComponent(key), versionId, eTag: 'e', ...more },
      },
    },
  ],
})

const inSweep = (all: ScanJob[]) => all.filter(({ object }) => object.key.startsWith('sweep/'))

for (const flavour of storeFlavours) {
  describe(`the reconciler on ${flavour}`, function () {
    this.timeout(240_000)
    let bench: ReconcilerBench

    before(async function () {
      if (noTlsRabbitmq !== undefined) {
        console.log(`      skipped: ${noTlsRabbitmq}`)
        this.skip()
      }
      bench = await openReconciler({ flavour })
    })
    after(() => bench?.close())
    beforeEach(async () => {
      for (const queue of Object.values(bench.queues)) await bench.take(queue)
    })

    /** Sweeps everything, and what came of it. */
    const sweep = async (env: Record<string, string> = {}) => {
      await bench.begin(env)
      await bench.idle()
      await bench.take(bench.queues.bulk)
      const id = randomUUID()
      await bench.askForSweep(id)
      const facts = await bench.swept(id)
      return { facts, jobs: await bench.take(bench.queues.bulk) }
    }

    const send = (body: unknown) => bench.publish(names.jobs, bench.queues.spool, body)
    const checked = async (count: number) => {
      await eventually(async () => (await bench.metric('avscan_spool_checked_total')) >= count, {
        timeoutMs: 30_000,
      })
      return bench.take(bench.queues.live)
    }

    describe('its spool lane', () => {
      before(() => bench.begin())

      let count = 0
      const check = async (...bodies: unknown[]) => {
        for (const body of bodies) await send(body)
        return checked((count += bodies.length))
      }

      it('turns the copy of an event into a verify job where no verdict is proven', async () => {
        const object = await bench.put('spool/a b+ü.txt')

        const [job, ...more] = await check(event(object))

        expect(more).to.deep.equal([])
        expect(job?.object).to.include(object)
        expect(job?.trigger).to.deep.equal({ kind: 'verify', id: 'spool' })
      })

      it('does nothing where one is, whatever it is', async () => {
        const clean = await bench.put('spool/clean')
        const givenUp = await bench.put('spool/given-up')
        const recorded = await bench.put('spool/recorded')
        await bench.mark(clean, 'clean')
        await bench.mark(givenUp, 'no', { reason: 199 })
        await bench.mark(recorded, 'clean', { record: true })

        expect(await check(event(clean), event(givenUp), event(recorded))).to.deep.equal([])
      })

      it('does not believe a proof from before the event, for other bytes may be there', async () => {
        const object = await bench.put('spool/again')
        await bench.mark(object, 'clean')
        const { servedAt } = await bench.store.head({ ...object })
        const [before, later] = [-60_000, 60_000].map((ms) => new Date(servedAt.getTime() + ms))

        const jobs = await check(event(object, {}, before), event(object, {}, later))

        expect(jobs.map(({ trigger }) => trigger)).to.deep.equal([
          { kind: 'verify', id: 'spool', after: later },
        ])
      })

      it('takes no job in our own words, which could come only from somebody else', async () => {
        const object = await bench.put('spool/words')

        await send({ objects: [object], trigger: { kind: 'rescan' } })

        const dead: ScanJob[] = []
        await eventually(async () => dead.push(...(await bench.take(names.dead))) > 0)
        expect(dead.map(nameOf)).to.deep.equal([named(object)])
        expect(await bench.take(bench.queues.live)).to.deep.equal([])
      })

      it('does not believe tags that an uploader wrote', async () => {
        const object = await bench.put('spool/forged')
        await bench.store.setTags({ ...object }, forged)

        expect((await check(event(object))).map(nameOf)).to.deep.equal([named(object)])
      })

      it('asks again for what is infected and still there', async () => {
        const object = await bench.put('spool/infected')
        await bench.mark(object, 'infected')

        expect((await check(event(object))).map(nameOf)).to.deep.equal([named(object)])
      })

      it('drops what is gone, folders and foreign buckets', async () => {
        const gone = await bench.put('spool/gone')
        await bench.store.remove({ ...gone })
        const folder = await bench.put('spool/folder/', '')
        const foreign = JSON.parse(
          JSON.stringify(event(gone)).replaceAll(bucket, 'foreign'),
        ) as unknown

        expect(await check(event(gone), event(folder), foreign)).to.deep.equal([])
      })

      it('asks the worker where the event names no version', async () => {
        const object = await bench.put('spool/unnamed')
        await bench.mark(object, 'clean')

        const jobs = await check(event({ ...object, versionId: undefined }))

        expect(jobs.map(({ object: { key } }) => key)).to.deep.equal([object.key])
      })

      it('loses no copy while the store is paused, or killed', async () => {
        const objects = await bench.putMany(Array.from({ length: 40 }, (_, i) => `spool/many-${i}`))
        const waiting = bench.drain(bench.queues.live)
        bench.server.pause()
        for (const object of objects.slice(0, 20)) await send(event(object))
        bench.server.resume()
        await bench.server.kill()
        for (const object of objects.slice(20)) await send(event(object))
        await bench.server.start()

        const drained = await waiting
        await eventually(
          () => {
            const wanted = objects.map(named).toSorted()
            expect([...new Set(drained.jobs.map(nameOf))].toSorted()).to.deep.equal(wanted)
          },
          { timeoutMs: 60_000 },
        )
        await drained.end()
        count = await bench.metric('avscan_spool_checked_total')
        expect(await bench.take(names.dead)).to.deep.equal([])
      })
    })

    describe('its sweep', () => {
      it('queues exactly what lacks a proven verdict, in every version, whatever the key', async () => {
        const keys = [
          `sweep/it's "so" <b>&amp;</b> (x)!*[y]{z}~.txt`,
          'sweep/Grüße/日本語/🦠.txt',
          'sweep/a?b=c&d=e#f;g:@$,.txt',
          'sweep/100%25 a+b',
          'sweep/007',
          `sweep/${'long'.repeat(50)}`,
        ]
        const bare = await bench.putMany(keys)
        const older = await bench.put('sweep/versions', '1')
        const newer = await bench.put('sweep/versions', '2')
        await bench.mark(newer, 'clean')
        const hidden = await bench.put('sweep/hidden')
        await bench.store.remove({ bucket, key: hidden.key })
        await bench.put('sweep/folder/', '')
        const imposter = await bench.put('sweep/forged')
        await bench.store.setTags({ ...imposter }, forged)
        const copied = await bench.put('sweep/copied')
        await bench.store.setTags({ ...copied }, await bench.store.tags({ ...newer }))
        const recorded = await bench.put('sweep/recorded')
        await bench.mark(recorded, 'clean', { record: true })
        const infected = await bench.put('sweep/infected')
        await bench.mark(infected, 'infected')
        const givenUp = await bench.put('sweep/given-up')
        await bench.mark(givenUp, 'no', { reason: 199 })
        const encrypted = await bench.put('sweep/encrypted')
        await bench.mark(encrypted, 'no', { reason: 107 })
        const passed = await bench.put('sweep/passed')
        await bench.mark(passed, 'unscanned')

        const { jobs } = await sweep()
        const { jobs: kept } = await sweep({ DELETE_FILE: 'false' })

        const wanted = [...bare, older, hidden, imposter, copied, infected, givenUp, passed]
        expect(inSweep(jobs).map(nameOf).toSorted()).to.deep.equal(wanted.map(named).toSorted())
        expect(inSweep(kept).map(nameOf)).not.to.include(named(infected))
        expect(inSweep(kept)).to.have.length(wanted.length - 1)
        expect(new Set(jobs.map(({ trigger }) => trigger.kind))).to.deep.equal(new Set(['sweep']))
      })

      it('goes by records where tags are off', async () => {
        const tagged = await bench.put('records/tagged')
        await bench.mark(tagged, 'clean')
        const recorded = await bench.put('records/recorded')
        await bench.mark(recorded, 'clean', { record: true })

        const { jobs } = await sweep({ TAG_FILES: 'false' })

        expect(
          jobs.filter(({ object }) => object.key.startsWith('records/')).map(nameOf),
        ).to.deep.equal([named(tagged)])
      })

      it('is one where the wish for it comes twice', async () => {
        await bench.begin()
        await bench.idle()
        const id = randomUUID()
        await bench.askForSweep(id)
        await bench.askForSweep(id)
        await bench.askForSweep(`${id} 2`)
        await bench.swept(`${id} 2`)

        const { sweeps = [] } = await bench.facts()
        expect(sweeps.filter((one) => one.id === id)).to.have.length(1)
      })

      it('looks only at what is not older, where it is asked so', async () => {
        await bench.put('since/old')
        await bench.begin()
        const next = await bench.put('since/new')
        const { lastModified } = await bench.store.head({ ...next })
        // A second later than the others in any case.
        const since = new Date(lastModified.getTime() + 1000).toISOString()
        let newest = next
        await eventually(async () => {
          newest = await bench.put('since/newest')
          const facts = await bench.store.head({ ...newest })
          return facts.lastModified.toISOString() >= since
        })
        await bench.idle()
        await bench.take(bench.queues.bulk)
        const id = randomUUID()
        await bench.askForSweep(id, since)
        await bench.swept(id)

        const jobs = (await bench.take(bench.queues.bulk)).map(nameOf)
        expect(jobs).to.include(named(newest))
        expect(jobs).not.to.include(named(next))
      })
    })

    it('sweeps what was judged before a write that no event has told of', async () => {
      await bench.begin()
      const [before, since] = [await bench.put('after/before'), await bench.put('after/since')]
      await bench.mark(before, 'clean', { judgedAt: new Date(Date.now() - 60_000) })
      await bench.mark(since, 'clean', { judgedAt: new Date(Date.now() + 60_000) })
      await bench.idle()
      await bench.take(bench.queues.bulk)
      const after = new Date()

      await bench.publish(names.jobs, names.reconcile, {
        type: 'sweep.requested',
        timestamp: after.toISOString(),
        data: { id: 'a1', reason: 'the audit log', after },
      })
      await bench.swept('the audit log')

      const jobs = await bench.take(bench.queues.bulk)
      expect(jobs.map(nameOf)).to.include(named(before))
      expect(jobs.map(nameOf)).not.to.include(named(since))
      for (const { trigger } of jobs) expect(trigger.after).to.deep.equal(after)
    })

    it('scans again under new signatures, with the verdict before', async () => {
      await bench.begin()
      const [old, current] = [await bench.put('rescan/old'), await bench.put('rescan/current')]
      await bench.mark(old, 'clean', { signatureVersion: '199' })
      await bench.mark(current, 'clean', { signatureVersion: '200' })
      const said = (signatureVersion: string) =>
        bench.publish(names.verdicts, 'signatures.updated', {
          type: 'signatures.updated',
          timestamp: new Date().toISOString(),
          data: { schemaVersion: '1.0', signatureVersion },
        })
      await bench.idle()
      await bench.take(bench.queues.bulk)

      for (const version of ['199', '200', '199', '200']) await said(version)
      await bench.swept('signatures 200')

      const jobs = (await bench.take(bench.queues.bulk)).filter(({ object }) =>
        object.key.startsWith('rescan/'),
      )
      expect(jobs.map(nameOf)).to.deep.equal([named(old)])
      expect(jobs[0]).to.deep.include({ trigger: { kind: 'rescan', id: '200' } })
      expect(jobs[0]?.object.previous).to.equal('clean')
      const { sweeps = [] } = await bench.facts()
      expect(sweeps.filter(({ reason }) => reason.startsWith('signatures'))).to.have.length(1)
    })

    it('stays within 150 MB', async () => {
      await bench.putMany(Array.from({ length: 300 }, (_, index) => `memory/${index}`))
      await sweep()

      expect(await bench.metric('process_resident_memory_bytes')).to.be.below(150e6)
    })

    it('prints no secret', () => {
      for (const value of [bench.config.store.password, bench.config.proof.key])
        expect(bench.log()).not.to.include(value)
    })
  })
}
