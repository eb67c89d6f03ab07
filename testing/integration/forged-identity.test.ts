// MinIO lets an uploader put other bytes under a version id, ETag and date that he chooses, and an application's tags with them.
import { expect } from 'chai'
import { randomBytes } from 'node:crypto'
import { eventually } from '../support/eventually.ts'
import { noClamd } from '../support/real-clamd.ts'
import { noMinio } from '../support/real-store.ts'
import { samples } from '../support/samples.ts'
import { noTlsRabbitmq } from '../support/tls-rabbitmq.ts'
import type { Uploaded } from '../support/uploader.ts'
import { workerBench, type WorkerBench } from '../support/worker-bench.ts'

describe('other bytes under the identity of an object that has its verdict', function () {
  this.timeout(60_000)
  let bench: WorkerBench
  let counter = 0

  before(async function () {
    this.timeout(120_000)
    const why = noTlsRabbitmq ?? noClamd ?? noMinio
    if (why !== undefined) {
      console.log(`      skipped: ${why}`)
      this.skip()
    }
    bench = await workerBench('minio')
    await bench.begin()
  })
  after(async function () {
    await bench?.close()
  })

  const virus = samples.eicar()
  const harmless = Buffer.alloc(virus.length, 'x')
  const infected = (key: string) =>
    eventually(() => {
      const found = bench.told.find(
        ({ routingKey, body }) =>
          routingKey.startsWith('verdict.infected') && body.data.s3ObjectDetails?.objectKey === key,
      )
      if (found === undefined) throw new Error(`no verdict "infected" of ${key}`)
      return found
    })

  /** A clean object; its version is deleted, and the virus comes in its place with all its tags. */
  const forge = async (own: Record<string, string> = {}, headers: Record<string, string> = {}) => {
    const key = `forged/${++counter}-${randomBytes(4).toString('hex')}`
    const object = await bench.uploader.put(key, harmless, own)
    await eventually(async () => expect(await tagsOf(object)).to.include({ scanned: 'clean' }))
    const tags = await tagsOf(object)
    await bench.uploader.client.removeObject(bench.uploader.bucket, key, {
      versionId: object.versionId ?? '',
    })
    const answer = await bench.root.client.makeRequestAsync(
      {
        method: 'PUT',
        bucketName: bench.root.bucket,
        objectName: key,
        query: `versionId=${object.versionId}`,
        headers: {
          'x-minio-source-etag': object.etag,
          'x-minio-source-mtime': '2001-02-03T04:05:06.000Z',
          'x-amz-tagging': new URLSearchParams(tags).toString(),
          ...headers,
        },
      },
      virus,
      [200],
    )
    answer.resume()
    const [present] = await bench.root.versions(key)
    expect(present, 'the identity is not forged').to.include({
      versionId: object.versionId,
      etag: object.etag,
    })
    return object
  }
  const tagsOf = ({ key, versionId }: Uploaded) => bench.root.tags(key, versionId)

  it('is judged by its event, although a proof of that identity is on it', async () => {
    const object = await forge()

    await infected(object.key)
  })

  it('is judged where the proof is a record, too', async () => {
    const own = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`t${index}`, 'x']))
    const object = await forge(own)

    await infected(object.key)
  })

  it('without an event is judged by a verify job that says when it was written', async () => {
    const object = await forge({}, { 'x-minio-source-replication-request': 'true' })
    const { key, versionId } = object
    const after = new Date()

    await bench.publishJob({
      object: { bucket: bench.uploader.bucket, key, versionId },
      trigger: { kind: 'verify', id: 'audit', after },
    })

    await infected(key)
  })
})
