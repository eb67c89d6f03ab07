// The few calls that we make to an S3-compatible store, with its errors in our words.
import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { XMLBuilder, XMLParser } from 'fast-xml-parser'
import {
  errorCode,
  FatalError,
  ObjectChangedError,
  ObjectGoneError,
  StoreUnavailableError,
  toError,
  UnreadableError,
} from './errors.ts'
import { isOverwritable, nullVersion, type ObjectRef } from './messages.ts'
import {
  connectS3,
  queryEncode,
  S3Error,
  servedAt,
  type S3Answer,
  type StoreOptions,
} from './s3-request.ts'
import { tlsProblem } from './trust.ts'
import { listVersionPages, type ObjectVersion, type VersionPage } from './version-listing.ts'

/** What the store says about one version. */
export interface ObjectFacts {
  size: number
  etag: string
  /** `null` when it was asked for by that name; undefined when the store names none. */
  versionId: string | undefined
  lastModified: Date
  /** How many tags it carries, as far as the answer tells. */
  tagCount: number
  /** The store deletes it for nobody at the moment: it is retained, or under legal hold. */
  held?: boolean
  /** When the store answered, by its own clock, in whole seconds; undefined of a listing. */
  servedAt?: Date | undefined
}

export interface OpenObject extends ObjectFacts {
  servedAt: Date
  /** As the uploader gave it; browsers undo it. */
  contentEncoding?: string | undefined
  /** The caller reads it to its end or destroys it. */
  body: Readable
}

/** What `init object-store` found out about a bucket and left in the records bucket for the workers. */
export interface BucketProbe {
  versioned: boolean
  /** Whether DELETE with an If-Match that does not hold is refused. */
  deleteIfMatch: boolean
}

export function bucketProbeKey(bucket: string): string {
  return `buckets/${bucket}.json`
}

export type Tags = Record<string, string>

/**
 * Every call throws ObjectGoneError (no such key or version), ObjectChangedError (412) or StoreUnavailableError
 * (no connection, 5xx, no answer in time, credentials refused); whatever else the store says rises as it is.
 */
export interface ObjectStore {
  /** Opens that version; without a versionId the current one, and with an etag only if it still has it. @throws UnreadableError */
  open(object: ObjectRef, signal?: AbortSignal): Promise<OpenObject>
  /** Of an object that the store does not show to us, as it is listed. */
  head(object: ObjectRef): Promise<ObjectFacts & { servedAt: Date }>
  /** What a listing says of it, for objects that answer no other question. */
  listed(object: ObjectRef): Promise<ObjectFacts>
  tags(object: ObjectRef): Promise<Tags>
  /** Replaces all tags. */
  setTags(object: ObjectRef, tags: Tags): Promise<void>
  /** Every version whose key begins with `prefix`, as the store lists them. */
  versions(bucket: string, prefix: string): AsyncIterable<ObjectVersion>
  /** Of one key; what sorts behind it is not listed, be it a million objects in its folder. */
  versionsOf(bucket: string, key: string): AsyncIterable<ObjectVersion>
  /** The same page by page; `after` of a page lets another listing go on behind it, whatever has been deleted meanwhile. */
  versionPages(bucket: string, prefix: string, after?: string): AsyncIterable<VersionPage>
  /** Deletes exactly that version; without a versionId the current object, only if it has that etag (where the store honours it). */
  remove(object: ObjectRef): Promise<void>
  /** Text of a small object, undefined when there is none. */
  readText(bucket: string, key: string): Promise<string | undefined>
  /** The same, with its ETag. */
  readTagged(bucket: string, key: string): Promise<{ text: string; etag: string } | undefined>
  /** `over`: the ETag that it replaces, '' for none. @returns its own ETag. @throws ObjectChangedError when another one is there, or none. */
  writeText(bucket: string, key: string, content: string, over?: string): Promise<string>
  /** Resolves when the store answers for that bucket; @throws FatalError when only a person can mend why it does not. */
  ping(bucket: string): Promise<void>
  close(): void
}

const gone = new Set(['NoSuchKey', 'NoSuchVersion', 'MethodNotAllowed'])
// What the store says when it is the store that has the problem, or our credentials: waiting heals it, burning attempts does not.
const away = new Set([
  'InternalError',
  'ServiceUnavailable',
  'SlowDown',
  'RequestTimeout',
  'ServerNotInitialized',
  'XMinioServerNotInitialized',
  'XMinioStorageFull',
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'RequestTimeTooSkewed',
  'UnknownError',
])
const refused = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'AccessDenied',
  'RequestTimeTooSkewed',
  'NoSuchBucket',
  'InvalidAccessKey',
])

const silent = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'])
/** Our request was never sent, for something in it cannot be: no outage, which would be waited for without end. */
const unsendable = new Set(['UND_ERR_INVALID_ARG', 'ERR_INVALID_CHAR'])

/** Encrypted with the uploader's own key (SSE-C), says the store to who reads without it; MinIO of a folder key in other words. */
function isOfOwnKey({ code, message }: S3Error): boolean {
  if (code === 'InvalidArgument') return message.includes('Server Side Encryption with Customer')
  return code === 'InvalidRequest'
}

export function createObjectStore(options: StoreOptions): ObjectStore {
  const where = `store ${new URL(options.url).host}`
  const s3 = connectS3(options)
  const translated = async <T>(what: string, call: () => Promise<T>): Promise<T> => {
    try {
      return await call()
    } catch (thrown) {
      const error = toError(thrown)
      if (error instanceof StoreUnavailableError) throw error
      const code = errorCode(error)
      if (code !== undefined && silent.has(code))
        throw new StoreUnavailableError(`the store was silent for ${options.timeoutMs} ms`)
      // A 404 without a body: all that HEAD can say, but no word of the store's on a GET.
      if (
        code !== undefined &&
        (gone.has(code) || (code === 'NotFound' && what.startsWith('head ')))
      )
        throw new ObjectGoneError(`${what}: ${code}`, { cause: error })
      if (code === 'PreconditionFailed' || code === 'ConditionalRequestConflict')
        throw new ObjectChangedError(`${what}: other bytes are there now`, { cause: error })
      if (error instanceof S3Error && isOfOwnKey(error) && /^(get|head) /.test(what))
        throw new UnreadableError(`${what}: ${error.message}`, error.servedAt, { cause: error })
      // Network errors carry a code in capitals; an answer that is not S3's carries none.
      if (
        code === undefined ||
        away.has(code) ||
        (/^E[A-Z_]+$|^UND_|^ERR_|^CERT_|^UNABLE_/.test(code) && !unsendable.has(code)) ||
        tlsProblem(error) !== undefined
      )
        throw new StoreUnavailableError(`${where}: ${what}`, { cause: error })
      throw new Error(`${where}: ${what}`, { cause: error })
    }
  }

  const versionPages: ObjectStore['versionPages'] = (bucket, prefix, after) =>
    listVersionPages(
      (query) =>
        translated(`list the versions of ${bucket}/${prefix}`, async () =>
          readAll(await s3.request({ method: 'GET', bucket, query })),
        ),
      prefix,
      after,
    )

  // A key sorts in front of all that begin with it.
  async function* versionsOf(bucket: string, key: string): AsyncGenerator<ObjectVersion> {
    for await (const { versions } of versionPages(bucket, key)) {
      yield* versions.filter((one) => one.key === key)
      if (versions.some((one) => one.key !== key)) return
    }
  }

  const readTagged: ObjectStore['readTagged'] = async (bucket, key) => {
    try {
      return await translated(`get ${bucket}/${key}`, async () => {
        const answer = await s3.request({ method: 'GET', bucket, key })
        return { text: await readAll(answer), etag: etagOf(answer) }
      })
    } catch (error) {
      if (error instanceof ObjectGoneError) return undefined
      throw error
    }
  }

  const askHead = (object: ObjectRef) =>
    translated(`head ${named(object)}`, async () => {
      const answer = await s3.request({
        method: 'HEAD',
        ...address(object),
        headers: ifMatch(object),
      })
      await answer.body.dump()
      return factsOf(answer, object)
    })
  const head = async (object: ObjectRef) => {
    try {
      return await askHead(object)
    } catch (error) {
      if (!(error instanceof UnreadableError)) throw error
      const { servedAt } = error
      try {
        return { ...(await listedFacts(object)), servedAt }
      } catch (notListed) {
        // It is there, or the store would have said 404: below a key that is an object itself MinIO lists nothing.
        const { etag, size = 0, versionId } = object
        if (!(notListed instanceof ObjectGoneError) || etag === undefined) throw notListed
        return { size, etag, versionId, lastModified: servedAt, tagCount: 1, servedAt }
      }
    }
  }
  /** Of an object that the store shows in its listing alone. */
  const listedFacts = async (object: ObjectRef): Promise<ObjectFacts> => {
    const { bucket, key, versionId, etag } = object
    for await (const found of versionsOf(bucket, key)) {
      if (versionId !== undefined && found.versionId !== versionId) continue
      if (found.deleteMarker) break
      if (etag !== undefined && isOverwritable(versionId) && found.etag !== etag)
        throw new ObjectChangedError(`${named(object)} is another object by now`)
      const hasName = found.versionId !== nullVersion || versionId === nullVersion
      return {
        size: found.size,
        etag: found.etag,
        versionId: hasName ? found.versionId : undefined,
        lastModified: found.lastModified,
        // It does not say how many; whoever wants to know reads them.
        tagCount: 1,
      }
    }
    throw new ObjectGoneError(`${named(object)} is not listed`)
  }
  const readTags = (object: ObjectRef) =>
    translated(`read the tags of ${named(object)}`, async () => {
      try {
        const answer = await s3.request({
          method: 'GET',
          ...address(object),
          query: taggingQuery(object),
        })
        return parseTags(await readAll(answer))
      } catch (error) {
        // An object without tags: some stores say so with an error.
        if (errorCode(error) === 'NoSuchTagSet' || errorCode(error) === 'NoSuchTagSetError')
          return {}
        throw error
      }
    })
  const writeTags = (object: ObjectRef, tags: Tags) =>
    translated(`tag ${named(object)}`, async () => {
      const body = Buffer.from(buildTags(tags))
      const answer = await s3.request({
        method: 'PUT',
        ...address(object),
        query: taggingQuery(object),
        headers: contentMd5(body),
        body,
      })
      await answer.body.dump()
    })
  /**
   * VersityGW knows the version called `null` by that name only while it lies behind a newer one (but for GET and DELETE): while
   * it is the current one it has no name.
   */
  const byNullName = async <T>(
    object: ObjectRef,
    call: (object: ObjectRef) => Promise<T>,
  ): Promise<T> => {
    try {
      return await call(object)
    } catch (error) {
      if (object.versionId !== nullVersion || !(error instanceof ObjectGoneError)) throw error
      const current = { ...object, versionId: undefined }
      if ((await head(current)).versionId !== undefined) throw error
      return call(current)
    }
  }

  return {
    open: (object, signal) =>
      translated(`get ${named(object)}`, async () => {
        signal?.throwIfAborted()
        const answer = await s3.request({
          method: 'GET',
          ...address(object),
          headers: ifMatch(object),
        })
        const contentEncoding = headerOf(answer, 'content-encoding')
        return { ...factsOf(answer, object), contentEncoding, body: answer.body }
      }),
    head: async (object) => {
      const facts = await byNullName(object, head)
      return object.versionId === nullVersion ? { ...facts, versionId: nullVersion } : facts
    },
    tags: (object) => byNullName(object, readTags),
    setTags: async (object, tags) => {
      const reached = await byNullName(object, async (named) => {
        await writeTags(named, tags)
        return named
      })
      // Between the look and the write a newer version may have come: then the tags are its own now.
      if (reached !== object && (await head(reached)).versionId !== undefined)
        throw new ObjectChangedError(
          `tag ${named(object)}: a newer version came while its tags were written`,
        )
    },
    async *versions(bucket, prefix) {
      for await (const page of versionPages(bucket, prefix)) yield* page.versions
    },
    versionsOf,
    listed: listedFacts,
    versionPages,
    remove: (object) =>
      translated(`delete ${named(object)}`, async () => {
        const answer = await s3.request({
          method: 'DELETE',
          ...address(object),
          headers: ifMatch(object),
        })
        await answer.body.dump()
      }),
    readText: async (bucket, key) => (await readTagged(bucket, key))?.text,
    readTagged,
    writeText: (bucket, key, content, over) => {
      const what = `put ${bucket}/${key}`
      const written = translated(what, async () => {
        const body = Buffer.from(content)
        const headers: Record<string, string> = {
          'content-type': 'application/json',
          ...contentMd5(body),
        }
        if (over === '') headers['if-none-match'] = '*'
        else if (over !== undefined) headers['if-match'] = `"${over}"`
        const answer = await s3.request({ method: 'PUT', bucket, key, headers, body })
        await answer.body.dump()
        return etagOf(answer)
      })
      return written.catch((error: unknown) => {
        if (!(error instanceof ObjectGoneError)) throw error
        // To If-Match on a key that is not there any more, the stores answer 404 and not 412.
        throw new ObjectChangedError(`${what}: it is gone`, { cause: error })
      })
    },
    ping: async (bucket) => {
      try {
        await translated(`reach the bucket ${bucket}`, async () => {
          const query = 'max-keys=1&versions'
          await (await s3.request({ method: 'GET', bucket, query })).body.dump()
        })
      } catch (thrown) {
        const error = toError(thrown)
        const tls = tlsProblem(error)
        if (tls !== undefined)
          throw new FatalError(`${where}: ${tls}`, 'TLS is never switched off', { cause: error })
        const code = errorCode(error)
        if (code !== undefined && refused.has(code)) {
          const hint =
            code === 'NoSuchBucket'
              ? `run \`init object-store\`, or correct MINIO_BUCKET_NAME`
              : code === 'RequestTimeTooSkewed'
                ? clockHint(error)
                : `the access key "${options.user}" or its policy differs from what \`init object-store\` made`
          throw new FatalError(`${where}: reach the bucket "${bucket}": ${code}`, hint, {
            cause: error,
          })
        }
        throw error
      }
    },
    close: () => s3.close(),
  }
}

const address = ({ bucket, key, versionId }: ObjectRef) => ({
  bucket,
  key,
  ...(versionId === undefined ? {} : { query: `versionId=${queryEncode(versionId)}` }),
})
const taggingQuery = ({ versionId }: ObjectRef) =>
  versionId === undefined ? 'tagging' : `tagging&versionId=${queryEncode(versionId)}`
const ifMatch = ({ versionId, etag }: ObjectRef): Record<string, string> =>
  isOverwritable(versionId) && etag !== undefined ? { 'if-match': `"${etag}"` } : {}
/** Signatures hold for 15 minutes. */
function clockHint(error: Error): string {
  let from: unknown = error
  while (from instanceof Error && !(from instanceof S3Error)) from = from.cause
  const minutes =
    from instanceof S3Error ? Math.round((Date.now() - from.servedAt.getTime()) / 60_000) : 0
  const how =
    minutes === 0
      ? 'differs from'
      : minutes > 0
        ? `is ${minutes} min ahead of`
        : `is ${-minutes} min behind`
  return `the clock of this machine ${how} the store's: set both by NTP`
}

const contentMd5 = (body: Buffer) => ({
  'content-md5': createHash('md5').update(body).digest('base64'),
})
const named = ({ bucket, key, versionId }: ObjectRef) =>
  `${bucket}/${key}${versionId === undefined ? '' : ` (${versionId})`}`

// A tag of digits is a text: "007" must stay "007".
const xml = new XMLParser({
  parseTagValue: false,
  htmlEntities: true,
  trimValues: false,
  isArray: (name) => name === 'Tag',
})

const builder = new XMLBuilder({})

function buildTags(tags: Tags): string {
  const list = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
  return builder.build({ Tagging: { TagSet: { Tag: list } } })
}

function parseTags(body: string): Tags {
  // Hardly an object has any, and reading the XML takes as long as asking for it.
  if (!body.includes('Tag>')) return {}
  const document = xml.parse(body) as {
    Tagging?: { TagSet?: { Tag?: { Key: string; Value: string }[] } }
  }
  return Object.fromEntries(
    (document.Tagging?.TagSet?.Tag ?? []).map(({ Key, Value }) => [Key, Value]),
  )
}

const readAll = ({ body }: S3Answer) => body.text()

function headerOf({ headers }: S3Answer, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : undefined
}

const etagOf = (answer: S3Answer) => (headerOf(answer, 'etag') ?? '').replaceAll('"', '')

function factsOf(
  answer: S3Answer,
  { bucket, key, versionId: asked }: ObjectRef,
): ObjectFacts & { servedAt: Date } {
  const header = (name: string) => headerOf(answer, name)
  const size = Number(header('content-length') ?? Number.NaN)
  const lastModified = new Date(header('last-modified') ?? Number.NaN)
  if (!Number.isSafeInteger(size) || Number.isNaN(lastModified.getTime())) {
    answer.body.destroy()
    throw new StoreUnavailableError(
      `the answer for ${bucket}/${key} lacks Content-Length or Last-Modified`,
    )
  }
  const version = header('x-amz-version-id') ?? nullVersion
  const answeredAt = servedAt(answer.headers)
  const retainedUntil = new Date(header('x-amz-object-lock-retain-until-date') ?? 0)
  const isHeld = header('x-amz-object-lock-legal-hold') === 'ON' || retainedUntil > answeredAt
  return {
    size,
    etag: etagOf(answer),
    // MinIO does not name this one, not even in a versioned bucket.
    versionId: version !== nullVersion || asked === nullVersion ? version : undefined,
    lastModified,
    servedAt: answeredAt,
    ...(isHeld ? { held: true } : {}),
    tagCount: Number(header('x-amz-tagging-count') ?? 0) || 0,
  }
}
