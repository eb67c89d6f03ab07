// Our object store calls against real stores, where a fake cannot know better.
import { expect } from 'chai'
import { createObjectStore, type ObjectStore } from '../../services/shared/object-store.ts'
import { noMinio, startStore, storeFlavours, type RealStore } from '../support/real-store.ts'
import { Client } from 'minio'
import { Agent } from 'node:https'
import { readFileSync } from 'node:fs'

const bucket = 'storagebucket'

if (noMinio !== undefined) console.log(`skipped: object store calls on MinIO: ${noMinio}`)

for (const flavour of storeFlavours) {
  describe(`the object store calls on ${flavour}`, function () {
    this.timeout(90_000)
    let server: RealStore
    let store: ObjectStore
    let client: Client

    before(async () => {
      server = await startStore({ flavour })
      const env = server.env()
      const { rootUser: user, rootPassword: password, url, region } = server
      const caFile = env['TLS_CA'] ?? ''
      store = createObjectStore({ url, region, user, password, caFile, timeoutMs: 5000 })
      client = new Client({
        endPoint: '127.0.0.1',
        port: server.port,
        useSSL: true,
        region,
        accessKey: user,
        secretKey: password,
        transportAgent: new Agent({ ca: readFileSync(caFile) }),
      })
      await client.makeBucket(bucket, region)
      await client.setBucketVersioning(bucket, { Status: 'Enabled' })
    })
    after(() => server?.kill())

    for (const key of [
      'plain.txt',
      'a b+c.txt',
      '100%.txt',
      'a%20b%2Fc.txt',
      `it's "so" <b>&amp;</b> (x)!*[y]{z}~.txt`,
      'Grüße/日本語/🦠.txt',
      'a?b=c&d=e#f;g:@$,.txt',
      '007',
      '1e5',
      'true',
    ]) {
      it(`lists, reads, tags and deletes the versions of ${key}`, async () => {
        await client.putObject(bucket, key, Buffer.from('first'))
        await client.putObject(bucket, key, Buffer.from('second'))

        const versions = (await Array.fromAsync(store.versions(bucket, key))).filter(
          (one) => one.key === key,
        )
        const contents: string[] = []
        for (const { versionId } of versions) {
          const opened = await store.open({ bucket, key, versionId })
          contents.push(Buffer.concat(await opened.body.toArray()).toString())
        }
        const [newest] = versions
        await store.setTags(
          { bucket, key, versionId: newest?.versionId },
          { code: '007', ratio: '1e5', note: ' x y ' },
        )

        expect(contents.toSorted()).to.deep.equal(['first', 'second'])
        expect(await store.tags({ bucket, key, versionId: newest?.versionId })).to.deep.equal({
          code: '007',
          ratio: '1e5',
          note: ' x y ',
        })
        for (const { versionId } of versions) await store.remove({ bucket, key, versionId })
        expect(await Array.fromAsync(store.versions(bucket, key))).to.deep.equal([])
      })
    }

    it('goes through all pages of a listing', async () => {
      const keys = Array.from({ length: 1234 }, (_, index) => `page/it's ${index}`)
      let next = 0
      const put = async () => {
        for (let index = next++; index < keys.length; index = next++)
          await client.putObject(bucket, keys[index] ?? '', Buffer.from('x'))
      }
      await Promise.all(Array.from({ length: 8 }, put))

      const listed = await Array.fromAsync(store.versions(bucket, 'page/'))

      expect(listed.map((one) => one.key).toSorted()).to.deep.equal(keys.toSorted())
    })
  })
}
