// A bucket that held objects before it was versioned, and one whose versioning is suspended: there a version is called `null`.
import { expect } from 'chai'
import { randomBytes } from 'node:crypto'
import { eventually } from '../support/eventually.ts'
import { noClamd } from '../support/real-clamd.ts'
import { storeFlavours } from '../support/real-store.ts'
import { samples } from '../support/samples.ts'
import { noTlsRabbitmq } from '../support/tls-rabbitmq.ts'
import { workerBench, type WorkerBench } from '../support/worker-bench.ts'

for (const flavour of storeFlavours)
  describe(`the version called null, on ${flavour}`, function () {
    this.timeout(60_000)
    let bench: WorkerBench
    const run = randomBytes(4).toString('hex')

    before(async function () {
      this.timeout(120_000)
      const why = noTlsRabbitmq ?? noClamd
      if (why !== undefined) {
        this.skip()
      }
      bench = await workerBench(flavour)
    })
    after(async function () {
      await bench?.close()
    })

    const versioning = (Status: 'Enabled' | 'Suspended') =>
      bench.root.client.setBucketVersioning(bench.root.bucket, { Status })
    const sweepJob = (key: string, versionId: string, etag: string) =>
      bench.publishJob({
        object: { bucket: bench.root.bucket, key, versionId, etag },
        trigger: { kind: 'sweep', id: 's' },
      })
    const told = (key: string, verdict: string, versionId: string) =>
      eventually(() => {
        const found = bench.told.some(
          ({ routingKey, body: { data } }) =>
            routingKey.startsWith(`verdict.${verdict}.`) &&
            data.s3ObjectDetails?.objectKey === key &&
            data.s3ObjectDetails.versionId === versionId,
        )
        expect(found, `${verdict} of ${key} (${versionId})`).to.equal(true)
      })

    it('is judged, and deleted for good, also behind a newer one that keeps its own verdict', async () => {
      // Suspended and enabled again, for the bucket is versioned already.
      await versioning('Suspended')
      const alone = await bench.root.put(`${run}/alone.com`, samples.eicar())
      const behind = await bench.root.put(`${run}/behind.com`, samples.eicar())
      const letter = await bench.root.put(`${run}/letter.txt`, samples.clean())
      await versioning('Enabled')
      const newer = await bench.root.put(behind.key, Buffer.from('harmless now'))
      await bench.begin()

      for (const { key, etag } of [alone, behind, letter]) await sweepJob(key, 'null', etag)

      await told(alone.key, 'infected', 'null')
      await told(behind.key, 'infected', 'null')
      await told(letter.key, 'clean', 'null')
      await eventually(async () => {
        const left = await bench.root.versions(`${run}/`)
        expect(left.map(({ key, versionId }) => `${key} ${versionId}`)).to.have.members([
          `${newer.key} ${newer.versionId}`,
          `${letter.key} null`,
        ])
      })
      // No delete marker hides it.
      expect(await bench.root.get(newer.key)).to.deep.equal(Buffer.from('harmless now'))
      expect(await bench.root.get(alone.key, 'null')).to.equal(undefined)
      expect((await bench.root.tags(letter.key))['scanned']).to.equal('clean')
    })

    it('has its verdict still, when it is asked again', async () => {
      const key = `${run}/letter.txt`
      const [version] = await bench.root.versions(key)
      const dropped = await bench.metric(/^avscan_.*dropped.*why="proven"/)

      await sweepJob(key, 'null', version?.etag ?? '')

      await eventually(async () =>
        expect(await bench.metric(/^avscan_.*dropped.*why="proven"/)).to.equal((dropped ?? 0) + 1),
      )
    })

    it('is judged when it is uploaded while versioning is suspended', async () => {
      await versioning('Suspended')
      await bench.begin({ DELETE_FILE: 'false' })

      const first = await bench.uploader.put(`${run}/suspended.txt`, samples.clean())
      await eventually(async () =>
        expect(await bench.root.tags(first.key)).to.include({ scanned: 'clean' }),
      )
      await bench.uploader.put(first.key, samples.eicar())

      await eventually(async () =>
        expect(await bench.root.tags(first.key)).to.include({ scanned: 'infected' }),
      )
    })
  })
