// What a store gives only in part, or keeps: objects under the uploader's own key, with headers beyond what is usual, under retention.
import { expect } from 'chai'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { eventually } from '../support/eventually.ts'
import { noClamd } from '../support/real-clamd.ts'
import { noMinio } from '../support/real-store.ts'
import { postForm } from '../support/post-form.ts'
import { samples } from '../support/samples.ts'
import { noTlsRabbitmq } from '../support/tls-rabbitmq.ts'
import { workerBench, type WorkerBench } from '../support/worker-bench.ts'

const why = noMinio ?? noTlsRabbitmq ?? noClamd
if (why !== undefined) console.log(`skipped: unreadable objects on MinIO: ${why}`)

describe('on MinIO', function () {
  this.timeout(60_000)
  let bench: WorkerBench

  before(async function () {
    this.timeout(120_000)
    if (why !== undefined) this.skip()
    bench = await workerBench('minio', { objectLock: true })
    await bench.begin()
  })
  after(() => bench?.close())

  const dropped = () => bench.metric(/^avscan_.*dropped.*why="proven"/)

  describe('an object under a key of the uploader (SSE-C)', () => {
    const key = 'secret/plan.txt'
    const own = randomBytes(32)
    const headers = {
      'x-amz-server-side-encryption-customer-algorithm': 'AES256',
      'x-amz-server-side-encryption-customer-key': own.toString('base64'),
      'x-amz-server-side-encryption-customer-key-md5': createHash('md5')
        .update(own)
        .digest('base64'),
    }
    const put = async (name: string) => {
      const { client, bucket } = bench.uploader
      const object = { bucketName: bucket, objectName: name, headers: { ...headers } }
      const answer = await client.makeRequestAsync(
        { method: 'PUT', ...object },
        samples.eicar(),
        [200],
      )
      answer.resume()
      return String(answer.headers['x-amz-version-id'])
    }

    it('is unscannable at the first attempt, with a reason of its own', async () => {
      await put(key)

      const { routingKey, body } = await bench.verdict(key)

      expect(routingKey).to.equal('verdict.unscannable.storagebucket')
      expect(body).to.have.deep.nested.property('data.scanResultDetails.statusReasons', [110])
      expect(body).to.have.nested.property('data.attempt', 1)
      expect(await bench.root.tags(key)).to.include({ scanned: 'no' })
      expect(await bench.deadLetters()).to.equal(0)
    })

    it('is so where its key looks like a folder, which the store refuses with another word', async () => {
      await put('secret/folder/')

      const { body } = await bench.verdict('secret/folder/')

      expect(body).to.have.deep.nested.property('data.scanResultDetails.statusReasons', [110])
      expect(await bench.deadLetters()).to.equal(0)
    })

    it('has its verdict still, when it is asked again', async () => {
      const before = (await dropped()) ?? 0
      const [version] = await bench.root.versions(key)

      for (const kind of ['verify', 'sweep'] as const)
        await bench.publishJob({
          object: { bucket: bench.uploader.bucket, key, versionId: version?.versionId },
          trigger: { kind, id: 's' },
        })

      await eventually(async () => expect(await dropped()).to.equal(before + 2))
      expect(
        bench.told.filter(({ body }) => body.data.s3ObjectDetails?.objectKey === key),
      ).to.have.length(1)
    })

    it('keeps its verdict apart from a newer one without such a key', async () => {
      await put('secret/both.txt')
      await bench.verdict('secret/both.txt')

      await bench.uploader.put('secret/both.txt', samples.clean())

      await eventually(async () =>
        expect(await bench.root.tags('secret/both.txt')).to.include({ scanned: 'clean' }),
      )
      const versions = await bench.root.versions('secret/both.txt')
      const old = versions.at(-1)?.versionId
      expect(await bench.root.tags('secret/both.txt', old)).to.include({ scanned: 'no' })
    })
  })

  describe('an infected object under retention', () => {
    it('is one dead letter, and is deleted by the sweep after its end', async () => {
      const { client, bucket } = bench.root
      const key = 'retained/evil.com'
      const headers = {
        'x-amz-object-lock-mode': 'GOVERNANCE',
        'x-amz-object-lock-retain-until-date': new Date(Date.now() + 3_600_000).toISOString(),
        'content-md5': createHash('md5').update(samples.eicar()).digest('base64'),
      }
      const object = { bucketName: bucket, objectName: key, headers }
      const answer = await client.makeRequestAsync(
        { method: 'PUT', ...object },
        samples.eicar(),
        [200],
      )
      answer.resume()
      const versionId = String(answer.headers['x-amz-version-id'])
      const before = await bench.deadLetters()
      const toldOf = () =>
        bench.told.filter(({ body }) => body.data.s3ObjectDetails?.objectKey === key)
      const sweep = () =>
        bench.publishJob({
          object: { bucket, key, versionId },
          trigger: { kind: 'sweep', id: 's' },
        })

      await eventually(async () => expect(await bench.deadLetters()).to.equal(before + 1), {
        timeoutMs: 20_000,
      })
      const told = toldOf().length
      const proven = (await dropped()) ?? 0
      await sweep()
      await eventually(async () => expect(await dropped()).to.equal(proven + 1))
      expect(toldOf()).to.have.length(told)
      expect(await bench.deadLetters()).to.equal(before + 1)

      const bypass = {
        'x-amz-bypass-governance-retention': 'true',
        'content-md5': createHash('md5').update('<Retention/>').digest('base64'),
      }
      const query = `retention&versionId=${versionId}`
      const ended = await client.makeRequestAsync(
        { method: 'PUT', ...object, headers: bypass, query },
        '<Retention/>',
        [200],
      )
      ended.resume()
      await sweep()
      await eventually(async () => {
        const left = (await bench.root.versions(key)).map((version) => version.versionId)
        expect(left).not.to.include(versionId)
      })
    })
  })

  it('an object whose form gave it 200 KB of Content-Disposition is scanned', async () => {
    const { client, bucket } = bench.uploader
    const ca = readFileSync(bench.caFile, 'utf8')
    const disposition = `attachment; filename="${'x'.repeat(200_000)}"`
    await postForm({ client, bucket, ca }, 'long/name.com', samples.eicar(), {
      edit: (policy) => policy.setContentDisposition(disposition),
    })

    expect((await bench.verdict('long/name.com')).routingKey).to.equal(
      'verdict.infected.storagebucket',
    )
    expect(await bench.deadLetters()).to.equal(0)
  })

  describe('a configured bucket that is not there', () => {
    it('stops neither the worker nor the scans of the others, and is told', async () => {
      await bench.begin({ MINIO_BUCKET_NAME: 'storagebucket,invoices' })
      await bench.uploader.put('beside/a.txt', Buffer.from('beside'))

      const { routingKey } = await bench.verdict('beside/a.txt')
      const { status, unusableBuckets } = await bench.ready()

      expect(routingKey).to.equal('verdict.clean.storagebucket')
      expect(status).to.equal(200)
      expect(unusableBuckets['invoices']).to.match(/NoSuchBucket|AccessDenied/)
      expect(bench.logged('a bucket cannot be used, nothing in it is scanned')).to.equal(1)
    })

    it('ends the worker where it is the only one, with the way out', async () => {
      // It never answers.
      void bench.begin({ MINIO_BUCKET_NAME: 'invoices' }, 'anyhow').catch(() => undefined)

      await eventually(() => expect(bench.worker.log()).to.match(/init object-store/))
    })
  })
})
