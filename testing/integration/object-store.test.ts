// Our object store calls against real stores, where a fake cannot know better.
import { expect } from 'chai'
import { createObjectStore, type ObjectStore } from '../../services/shared/object-store.ts'
import type { ObjectVersion } from '../../services/shared/version-listing.ts'
import {
  noMinio,
  startStore,
  storeFlavours,
  type RealStore,
  type StoreFlavour,
} from '../support/real-store.ts'
import { Client } from 'minio'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { ObjectChangedError } from '../../services/shared/errors.ts'
import { rejection } from '../support/rejection.ts'
import { Agent } from 'node:https'
import { readFileSync } from 'node:fs'

const bucket = 'storagebucket'

if (noMinio !== undefined) console.log(`skipped: object store calls on MinIO: ${noMinio}`)

const keysOf = (versions: readonly ObjectVersion[]) =>
  versions.filter(({ deleteMarker }) => !deleteMarker).map(({ key }) => key)

const listedAs = (flavour: StoreFlavour, key: string) =>
  flavour === 'minio' ? key : key.replaceAll('\u0001', '\uFFFD')

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

    const putAll = async (wanted: readonly string[]) => {
      let next = 0
      const put = async () => {
        for (let index = next++; index < wanted.length; index = next++)
          await client.putObject(bucket, wanted[index] ?? '', Buffer.from('x'))
      }
      await Promise.all(Array.from({ length: 8 }, put))
    }

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

    it('replaces a text only where it is the one that is meant', async () => {
      const [key, write] = ['state.json', store.writeText.bind(store)]

      const first = await write(bucket, key, 'first', '')
      const refusedAnew = await rejection(write(bucket, key, 'again', ''))
      const second = await write(bucket, key, 'second', first)
      const refused = await rejection(write(bucket, key, 'other', first))

      expect(refusedAnew).to.be.instanceOf(ObjectChangedError)
      expect(refused).to.be.instanceOf(ObjectChangedError)
      expect(await store.readTagged(bucket, key)).to.deep.equal({ text: 'second', etag: second })
      for await (const { versionId } of store.versionsOf(bucket, key))
        await store.remove({ bucket, key, versionId })
      expect(await rejection(write(bucket, key, 'third', second))).to.be.instanceOf(
        ObjectChangedError,
      )
    })

    it('lists the versions of one key alone, a folder with many objects in it, too', async () => {
      const inside = Array.from({ length: 600 }, (_, index) => `many/o${index}`)
      await putAll([...inside, 'man', 'many.txt'])
      await client.putObject(bucket, 'many/', Buffer.alloc(0))
      let requests = 0
      const count = () => requests++
      subscribe('undici:request:create', count)
      try {
        for (const key of ['many/', 'man'])
          expect(keysOf(await Array.fromAsync(store.versionsOf(bucket, key)))).to.deep.equal([key])
      } finally {
        unsubscribe('undici:request:create', count)
      }

      expect(requests).to.equal(2)
    })

    // VersityGW reads all of them for each page: five times as long from 2,000 to 8,000, ten times from 500 to 2,000.
    if (flavour === 'minio')
      it('lists four times as many versions of a key in at most five times the time', async () => {
        const times: number[] = []
        for (const [key, count] of [
          ['few', 500],
          ['more', 2000],
        ] as const) {
          await putAll(Array.from({ length: count }, () => key))
          const rounds: number[] = []
          for (let round = 0; round < 5; round++) {
            const begun = performance.now()
            expect(await Array.fromAsync(store.versionsOf(bucket, key))).to.have.length(count)
            rounds.push(performance.now() - begun)
          }
          times.push(Math.min(...rounds))
        }

        const [few = 0, more = 0] = times
        expect(more / few).to.be.below(5)
      })

    describe('a listing of several pages', () => {
      const keys = Array.from({ length: 1234 }, (_, index) => `page/it's ${index}`)
      before(() => putAll(keys))

      it('is complete', async () => {
        const listed = await Array.fromAsync(store.versions(bucket, 'page/'))

        expect(keysOf(listed).toSorted()).to.deep.equal(keys.toSorted())
      })

      it('begins again behind a page, and names nothing twice', async () => {
        const [first] = await Array.fromAsync(store.versionPages(bucket, 'page/'))
        const rest = await Array.fromAsync(
          store.versionPages(bucket, 'page/', first?.after),
          ({ versions }) => versions,
        )

        const done = keysOf(first?.versions ?? []).filter((key) => key <= (first?.after ?? ''))
        expect([...done, ...keysOf(rest.flat())].toSorted()).to.deep.equal(keys.toSorted())
      })

      // VersityGW answers the next page's request with an empty, complete listing then.
      for (const gone of ['the last version of a page', 'the last key of a page']) {
        it(`goes on when ${gone} is deleted before the next is asked for`, async () => {
          const last = 'page/late'
          await putAll([last])
          const seen: ObjectVersion[] = []
          let deleted = ''
          for await (const { versions } of store.versionPages(bucket, 'page/')) {
            seen.push(...versions)
            if (deleted !== '') continue
            const end = versions.at(-1)
            deleted = end?.key ?? ''
            for (const { key, versionId } of versions)
              if (key === deleted && (gone.includes('key') || versionId === end?.versionId))
                await store.remove({ bucket, key, versionId })
          }

          const expected = [...new Set([...keys, last])].toSorted()
          expect([...new Set(keysOf(seen))].toSorted()).to.deep.equal(expected)
          await putAll([deleted])
        })
      }

      it('leaves nothing out for keys whose characters a listing cannot hold', async () => {
        // In the order of a listing; the first page ends among the odd ones.
        const odd = Array.from(
          { length: 1100 },
          (_, index) => `odd/${index < 900 ? 'a' : index < 1050 ? 'b\u0001' : 'bz'}${index}`,
        )
        await putAll(odd)

        const listed = new Set(keysOf(await Array.fromAsync(store.versions(bucket, 'odd/'))))

        expect([...listed].toSorted()).to.deep.equal(
          odd.map((key) => listedAs(flavour, key)).toSorted(),
        )
      })
    })
  })
}
