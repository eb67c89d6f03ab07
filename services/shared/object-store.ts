// The few calls that we make to an S3-compatible store, over the `minio` package, with its errors in our words.
import { createHash } from 'node:crypto'
import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { text } from 'node:stream/consumers'
import { createSecureContext } from 'node:tls'
import aws4 from 'aws4'
import { XMLBuilder, XMLParser } from 'fast-xml-parser'
import { Client } from 'minio'
import {
  errorCode,
  FatalError,
  ObjectChangedError,
  ObjectGoneError,
  StoreUnavailableError,
  toError,
} from './errors.ts'
import { isOverwritable, nullVersion, type ObjectRef } from './messages.ts'
import { endWhenSilent } from './silence.ts'
import { tlsProblem, trustedCas } from './trust.ts'
import {
  listVersionPages,
  type ObjectVersion,
  type VersionPage,
  queryEncode,
} from './version-listing.ts'

export interface StoreOptions {
  url: string
  region: string
  user: string
  password: string
  /** PEM file with a CA to trust besides the public ones; '' for none. */
  caFile: string
  /** Longest silence of the store before it answers. */
  timeoutMs: number
}

/** What the store says about one version. */
export interface ObjectFacts {
  size: number
  etag: string
  /** `null` when it was asked for by that name; undefined when the store names none. */
  versionId: string | undefined
  lastModified: Date
  /** How many tags it carries, as far as the answer tells. */
  tagCount: number
  /** When the store answered, by its own clock, in whole seconds; undefined of a listing. */
  servedAt?: Date | undefined
}

export interface OpenObject extends ObjectFacts {
  servedAt: Date
  /** As the uploader gave it; browsers undo it. */
  contentEncoding?: string | undefined
  /** The caller reads it to its end or destroys it. */
  body: IncomingMessage
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
  /** Opens that version; without a versionId the current one, and with an etag only if it still has it. */
  open(object: ObjectRef, signal?: AbortSignal): Promise<OpenObject>
  head(object: ObjectRef): Promise<ObjectFacts & { servedAt: Date }>
  tags(object: ObjectRef): Promise<Tags>
  /** Replaces all tags. */
  setTags(object: ObjectRef, tags: Tags): Promise<void>
  /** Every version whose key begins with `prefix`, as the store lists them. */
  versions(bucket: string, prefix: string): AsyncIterable<ObjectVersion>
  /** The same page by page; `after` of a page lets another listing go on behind it, whatever has been deleted meanwhile. */
  versionPages(bucket: string, prefix: string, after?: string): AsyncIterable<VersionPage>
  /** Deletes exactly that version; without a versionId the current object, only if it has that etag (where the store honours it). */
  remove(object: ObjectRef): Promise<void>
  /** Text of a small object, undefined when there is none. */
  readText(bucket: string, key: string): Promise<string | undefined>
  writeText(bucket: string, key: string, content: string): Promise<void>
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

/** The store's own trouble, or a proxy's in front of it. */
const troubled = (status: number) =>
  (status >= 500 && status !== 501) || status === 408 || status === 429

/** As the minio package makes it, an object of its own for each request. */
type StoreRequest = Omit<RequestOptions, 'headers'> & { headers: Record<string, string> }

export function createObjectStore(options: StoreOptions): ObjectStore {
  const url = new URL(options.url)
  const secure = url.protocol === 'https:'
  // A context and not `ca`: the agent would parse all those certificates for each connection, and copy them into the name by
  // which it looks for a free one, at each request (2 ms and hundreds of kilobytes).
  const ca = secure ? trustedCas(options.caFile) : undefined
  const secureContext = ca === undefined ? undefined : createSecureContext({ ca })
  const pool = { keepAlive: true, maxSockets: 256, scheduling: 'lifo' as const }
  const agent = secure
    ? new HttpsAgent({ ...pool, ...(secureContext === undefined ? {} : { secureContext }) })
    : new HttpAgent(pool)
  const request = secure ? httpsRequest : httpRequest
  const where = `store ${url.host}`
  // The minio package derives its key anew for each request, a tenth of what a scan of a small object costs. It still signs where
  // there is no TLS, for there it also signs what the body is.
  const credentials = { accessKeyId: options.user, secretAccessKey: options.password }
  const signed = (unsigned: StoreRequest) => {
    const headers = { ...unsigned.headers, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }
    const facts = { ...unsigned, headers, service: 's3', region: options.region }
    return aws4.sign(facts as Parameters<typeof aws4.sign>[0], credentials) as RequestOptions
  }
  const silent = () => new StoreUnavailableError(`the store was silent for ${options.timeoutMs} ms`)
  const client = new Client({
    endPoint: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (secure ? 443 : 80) : Number(url.port),
    useSSL: secure,
    region: options.region,
    ...(secure ? {} : { accessKey: options.user, secretKey: options.password }),
    pathStyle: true,
    transportAgent: agent,
    // Retries are the consumer's business: it counts them and survives a crash.
    retryOptions: { disableRetry: true },
    transport: {
      request: (unsigned: StoreRequest, answered: (response: IncomingMessage) => void) => {
        const sent = request(secure ? signed(unsigned) : unsigned, (response) => {
          // From here on a quiet connection may be our own backpressure; the body has its own clock.
          sent.setTimeout(0)
          endWhenSilent(response, options.timeoutMs, silent)
          const status = response.statusCode ?? 0
          // Of a HEAD it is all that is said, and the minio package has no word for it.
          if (status === 412 && unsigned.method === 'HEAD') {
            response.resume()
            sent.emit('error', Object.assign(new Error('412'), { code: 'PreconditionFailed' }))
            return
          }
          if (!troubled(status)) return answered(response)
          // The minio package leaves such an answer unread, which keeps its connection for good.
          response.resume()
          sent.emit('error', new StoreUnavailableError(`${where} answered ${status}`))
        })
        // The minio package pipes even the smallest body; so it leaves together with its head, and `end` uncorks.
        sent.cork()
        sent.setTimeout(options.timeoutMs, () => sent.destroy(silent()))
        return sent
      },
    } as never,
  })
  const translated = async <T>(what: string, call: () => Promise<T>): Promise<T> => {
    try {
      return await call()
    } catch (thrown) {
      const error = toError(thrown)
      if (error instanceof StoreUnavailableError) throw error
      const code = errorCode(error)
      // A 404 without a body: all that HEAD can say, but no word of the store's on a GET.
      if (
        code !== undefined &&
        (gone.has(code) || (code === 'NotFound' && what.startsWith('head ')))
      )
        throw new ObjectGoneError(`${what}: ${code}`, { cause: error })
      if (code === 'PreconditionFailed')
        throw new ObjectChangedError(`${what}: other bytes are there now`, { cause: error })
      // Network errors carry a code in capitals; an answer that is not S3's carries none.
      if (
        code === undefined ||
        away.has(code) ||
        /^E[A-Z_]+$|^UND_|^ERR_|^CERT_|^UNABLE_/.test(code) ||
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
          text(
            await client.makeRequestAsync({ method: 'GET', bucketName: bucket, query }, '', [200]),
          ),
        ),
      prefix,
      after,
    )

  const head = (object: ObjectRef) =>
    translated(`head ${named(object)}`, async () => {
      const answer = await client.makeRequestAsync(
        { method: 'HEAD', ...address(object), headers: ifMatch(object) },
        '',
        [200],
      )
      answer.resume()
      return factsOf(answer, object)
    })
  const readTags = (object: ObjectRef) =>
    translated(`read the tags of ${named(object)}`, async () => {
      try {
        const answer = await client.makeRequestAsync(
          { method: 'GET', ...address(object), query: taggingQuery(object) },
          '',
          [200],
        )
        return parseTags(await text(answer))
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
      const answer = await client.makeRequestAsync(
        {
          method: 'PUT',
          ...address(object),
          query: taggingQuery(object),
          headers: { 'content-md5': createHash('md5').update(body).digest('base64') },
        },
        body,
        [200],
      )
      answer.resume()
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
        const body = await client.makeRequestAsync(
          { method: 'GET', ...address(object), headers: ifMatch(object) },
          '',
          [200],
        )
        const contentEncoding = body.headers['content-encoding']
        return { ...factsOf(body, object), contentEncoding, body }
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
    versionPages,
    remove: (object) =>
      translated(`delete ${named(object)}`, async () => {
        const answer = await client.makeRequestAsync(
          { method: 'DELETE', ...address(object), headers: ifMatch(object) },
          '',
          [200, 204],
        )
        answer.resume()
      }),
    readText: async (bucket, key) => {
      try {
        return await translated(`get ${bucket}/${key}`, async () => {
          return text(
            await client.makeRequestAsync(
              { method: 'GET', bucketName: bucket, objectName: key },
              '',
              [200],
            ),
          )
        })
      } catch (error) {
        if (error instanceof ObjectGoneError) return undefined
        throw error
      }
    },
    writeText: (bucket, key, content) =>
      translated(`put ${bucket}/${key}`, async () => {
        await client.putObject(bucket, key, Buffer.from(content), undefined, {
          'content-type': 'application/json',
        })
      }),
    ping: async (bucket) => {
      try {
        await translated(`reach the bucket ${bucket}`, async () => {
          const answer = await client.makeRequestAsync(
            { method: 'GET', bucketName: bucket, query: 'max-keys=1&versions' },
            '',
            [200],
          )
          answer.resume()
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
              : `the access key "${options.user}" or its policy differs from what \`init object-store\` made`
          throw new FatalError(`${where}: reach the bucket "${bucket}": ${code}`, hint, {
            cause: error,
          })
        }
        throw error
      }
    },
    close: () => agent.destroy(),
  }
}

const address = ({ bucket, key, versionId }: ObjectRef) => ({
  bucketName: bucket,
  objectName: key,
  query: versionId === undefined ? '' : `versionId=${queryEncode(versionId)}`,
})
const taggingQuery = ({ versionId }: ObjectRef) =>
  versionId === undefined ? 'tagging' : `tagging&versionId=${queryEncode(versionId)}`
const ifMatch = ({ versionId, etag }: ObjectRef): Record<string, string> =>
  isOverwritable(versionId) && etag !== undefined ? { 'if-match': `"${etag}"` } : {}
const named = ({ bucket, key, versionId }: ObjectRef) =>
  `${bucket}/${key}${versionId === undefined ? '' : ` (${versionId})`}`

// The minio package reads a tag value or key of digits as a number, and "007" must stay "007".
const xml = new XMLParser({
  parseTagValue: false,
  htmlEntities: true,
  trimValues: false,
  isArray: (name) => name === 'Tag',
})

const builder = new XMLBuilder({})

// The minio package's own way takes ten times as long, for each object.
function buildTags(tags: Tags): string {
  const list = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
  return builder.build({ Tagging: { TagSet: { Tag: list } } })
}

function parseTags(body: string): Tags {
  const document = xml.parse(body) as {
    Tagging?: { TagSet?: { Tag?: { Key: string; Value: string }[] } }
  }
  return Object.fromEntries(
    (document.Tagging?.TagSet?.Tag ?? []).map(({ Key, Value }) => [Key, Value]),
  )
}

function factsOf(
  answer: IncomingMessage,
  { bucket, key, versionId: asked }: ObjectRef,
): ObjectFacts & { servedAt: Date } {
  const { headers } = answer
  const header = (name: string) => {
    const value = headers[name]
    return typeof value === 'string' ? value : undefined
  }
  const size = Number(header('content-length') ?? Number.NaN)
  const lastModified = new Date(header('last-modified') ?? Number.NaN)
  if (!Number.isSafeInteger(size) || Number.isNaN(lastModified.getTime())) {
    answer.destroy()
    throw new StoreUnavailableError(
      `the answer for ${bucket}/${key} lacks Content-Length or Last-Modified`,
    )
  }
  const version = header('x-amz-version-id') ?? nullVersion
  const servedAt = new Date(header('date') ?? Number.NaN)
  return {
    size,
    etag: (header('etag') ?? '').replaceAll('"', ''),
    // MinIO does not name this one, not even in a versioned bucket.
    versionId: version !== nullVersion || asked === nullVersion ? version : undefined,
    lastModified,
    // Without a clock of its own (RFC 9110) it is ours that counts.
    servedAt: Number.isNaN(servedAt.getTime()) ? new Date() : servedAt,
    tagCount: Number(header('x-amz-tagging-count') ?? 0) || 0,
  }
}
