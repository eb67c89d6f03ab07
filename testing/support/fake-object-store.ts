// An object store in memory: versions, tags, records; and every failure that a test asks for.
import { createHash, randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { ObjectChangedError, ObjectGoneError } from '../../services/shared/errors.ts'
import { nullVersion, type ObjectRef } from '../../services/shared/messages.ts'
import type { ObjectFacts, ObjectStore, Tags } from '../../services/shared/object-store.ts'
import type { ObjectVersion } from '../../services/shared/version-listing.ts'

export interface StoredVersion {
  bucket: string
  key: string
  versionId: string | undefined
  etag: string
  lastModified: Date
  bytes: Buffer
  tags: Tags
  contentEncoding?: string
}

export interface FakeObjectStore extends ObjectStore {
  put(bucket: string, key: string, bytes: Buffer | string, tags?: Tags): StoredVersion
  /** All versions, newest last. */
  readonly all: StoredVersion[]
  readonly records: Map<string, string>
  readonly calls: string[]
  /** Called before each call with its name; what it throws the call throws. */
  before: (call: string, object: ObjectRef) => void
  /** Cuts downloads after so many bytes. */
  cutAfterBytes: number | undefined
  /** Deletes whatever is there, as MinIO does. */
  ignoresIfMatch: boolean
  keysPerPage: number
  /** Where it is not enabled an upload overwrites what has no version, or the version called null. */
  versioning: 'enabled' | 'suspended' | 'off'
  /** The store's clock, in milliseconds; without it a second later than the last upload. */
  now: number | undefined
}

const listed = ({ key, versionId, etag, lastModified, bytes }: StoredVersion): ObjectVersion => ({
  key,
  versionId: versionId ?? nullVersion,
  etag,
  lastModified,
  size: bytes.length,
  deleteMarker: false,
})

const firstUpload = 1_800_000_000_000

export function fakeObjectStore(options: { versioned?: boolean } = {}): FakeObjectStore {
  const all: StoredVersion[] = []
  const records = new Map<string, string>()
  const calls: string[] = []
  let uploads = 0

  const find = (call: string, object: ObjectRef): StoredVersion => {
    calls.push(call)
    store.before(call, object)
    const { bucket, key, versionId, etag } = object
    const found = all.findLast(
      (one) =>
        one.bucket === bucket &&
        one.key === key &&
        (versionId === undefined || (one.versionId ?? nullVersion) === versionId),
    )
    if (found === undefined) throw new ObjectGoneError(`${call} ${bucket}/${key}: NoSuchKey`)
    const matches =
      call !== 'tags' && call !== 'setTags' && !(call === 'remove' && store.ignoresIfMatch)
    const isRewritable = versionId === undefined || versionId === nullVersion
    if (matches && isRewritable && etag !== undefined && found.etag !== etag)
      throw new ObjectChangedError(`${call} ${bucket}/${key}: changed`)
    return found
  }
  const factsOf = (
    { bytes, etag, versionId, lastModified, tags }: StoredVersion,
    asked: ObjectRef,
  ): ObjectFacts & { servedAt: Date } => ({
    size: bytes.length,
    etag,
    versionId: asked.versionId === nullVersion ? nullVersion : versionId,
    lastModified,
    tagCount: Object.keys(tags).length,
    servedAt: new Date(Math.floor((store.now ?? firstUpload + uploads * 1000) / 1000) * 1000),
  })

  const store: FakeObjectStore = {
    all,
    records,
    calls,
    before: () => {},
    cutAfterBytes: undefined,
    ignoresIfMatch: false,
    keysPerPage: 1000,
    versioning: (options.versioned ?? true) ? 'enabled' : 'off',
    now: undefined,
    put(bucket, key, content, tags = {}) {
      const bytes = Buffer.from(content)
      if (store.versioning !== 'enabled') {
        const isOverwritten = (one: StoredVersion) =>
          one.bucket === bucket && one.key === key && one.versionId === undefined
        all.splice(0, all.length, ...all.filter((one) => !isOverwritten(one)))
      }
      const version: StoredVersion = {
        bucket,
        key,
        versionId: store.versioning === 'enabled' ? randomUUID() : undefined,
        etag: md5(bytes),
        lastModified: new Date(firstUpload + uploads++ * 1000),
        bytes,
        tags,
      }
      all.push(version)
      return version
    },
    async open(object) {
      const found = find('open', object)
      const cut = store.cutAfterBytes
      const source = async function* () {
        for (let offset = 0; offset < found.bytes.length; offset += 16_384) {
          const end = Math.min(offset + 16_384, found.bytes.length)
          if (cut !== undefined && end > cut) {
            yield found.bytes.subarray(offset, cut)
            throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
          }
          yield found.bytes.subarray(offset, end)
        }
      }
      return {
        ...factsOf(found, object),
        contentEncoding: found.contentEncoding,
        body: Readable.from(source(), { objectMode: false }) as unknown as IncomingMessage,
      }
    },
    head: async (object) => factsOf(find('head', object), object),
    listed: async (object) => factsOf(find('listed', object), object),
    tags: async (object) => ({ ...find('tags', object).tags }),
    async setTags(object, tags) {
      find('setTags', object).tags = { ...tags }
    },
    async *versionsOf(bucket, key) {
      for await (const page of store.versionPages(bucket, key)) {
        yield* page.versions.filter((one) => one.key === key)
        if (page.versions.some((one) => one.key !== key)) return
      }
    },
    async *versions(bucket, prefix) {
      for await (const page of store.versionPages(bucket, prefix)) yield* page.versions
    },
    async *versionPages(bucket, prefix, after = '') {
      const keys = () =>
        [...new Set(all.filter((one) => one.bucket === bucket).map(({ key }) => key))]
          .filter((key) => key.startsWith(prefix))
          .toSorted()
      let last = after
      do {
        calls.push('versions')
        store.before('versions', { bucket, key: prefix })
        const page = keys()
          .filter((key) => key > last)
          .slice(0, store.keysPerPage)
        last = page.at(-1) ?? last
        const versions = page.flatMap((key) =>
          all.filter((one) => one.bucket === bucket && one.key === key).map(listed),
        )
        yield { versions, after: last }
      } while (keys().some((key) => key > last))
    },
    async remove(object) {
      const found = find('remove', object)
      all.splice(all.indexOf(found), 1)
    },
    readText: async (bucket, key) => records.get(`${bucket}/${key}`),
    async readTagged(bucket, key) {
      const text = records.get(`${bucket}/${key}`)
      return text === undefined ? undefined : { text, etag: md5(text) }
    },
    async writeText(bucket, key, content, over) {
      store.before('writeText', { bucket, key })
      const present = records.get(`${bucket}/${key}`)
      if (over !== undefined && over !== (present === undefined ? '' : md5(present)))
        throw new ObjectChangedError(`put ${bucket}/${key}: other bytes are there now`)
      records.set(`${bucket}/${key}`, content)
      return md5(content)
    },
    ping: async () => {},
    close: () => {},
  }
  return store
}

const md5 = (bytes: Buffer | string) => createHash('md5').update(bytes).digest('hex')
