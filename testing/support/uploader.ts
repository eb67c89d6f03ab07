// An application that uploads: S3 with the uploader's own credentials and nothing else, and what it can see of a verdict.
import { readFileSync } from 'node:fs'
import type { IncomingMessage, request as httpRequest } from 'node:http'
import { Agent, request, type RequestOptions } from 'node:https'
import { buffer, text } from 'node:stream/consumers'
import { Client } from 'minio'
import { XMLParser } from 'fast-xml-parser'
import { rootCertificates } from 'node:tls'
import { eventually } from './eventually.ts'

export interface UploaderOptions {
  endpoint: string
  caFile: string
  region: string
  bucket: string
  accessKey: string
  secretKey: string
  /** Each request is made once, so that an upload without an answer is known to be one. */
  noRetry?: boolean
}

export interface Uploaded {
  key: string
  versionId: string | undefined
  etag: string
}

export interface Version {
  key: string
  versionId: string
  etag: string
}

const xml = new XMLParser({
  parseTagValue: false,
  htmlEntities: true,
  trimValues: false,
  isArray: (name) => name === 'Version' || name === 'Tag',
})

const versionQuery = (versionId: string | undefined) =>
  versionId === undefined ? '' : `versionId=${versionId}`

/** Stores give back headers far beyond Node's 16 KB. */
const withLongHeaders = ((options: RequestOptions, then?: (answer: IncomingMessage) => void) =>
  request({ ...options, maxHeaderSize: 1024 * 1024 }, then)) as typeof httpRequest

export function createUploader(options: UploaderOptions) {
  const url = new URL(options.endpoint)
  const { bucket } = options
  const agent = new Agent({
    keepAlive: true,
    ca: [...rootCertificates, readFileSync(options.caFile, 'utf8')],
  })
  const client = new Client({
    endPoint: url.hostname,
    port: Number(url.port),
    useSSL: true,
    region: options.region,
    accessKey: options.accessKey,
    secretKey: options.secretKey,
    pathStyle: true,
    transportAgent: agent,
    transport: { request: withLongHeaders },
    ...(options.noRetry === true ? { retryOptions: { disableRetry: true } } : {}),
  })

  const uploader = {
    client,
    bucket,
    /** `tags` go into the x-amz-tagging header, as an application sends them. */
    async put(key: string, bytes: Buffer, tags: Record<string, string> = {}): Promise<Uploaded> {
      const headers: Record<string, string> = {}
      if (Object.keys(tags).length > 0)
        headers['x-amz-tagging'] = new URLSearchParams(tags).toString()
      const answer = await client.makeRequestAsync(
        { method: 'PUT', bucketName: bucket, objectName: key, headers },
        bytes,
        [200],
      )
      answer.resume()
      const version = answer.headers['x-amz-version-id']
      return {
        key,
        versionId: typeof version === 'string' ? version : undefined,
        etag: (answer.headers.etag ?? '').replaceAll('"', ''),
      }
    },
    async putMultipart(key: string, parts: readonly Buffer[]): Promise<void> {
      const uploadId = await client.initiateNewMultipartUpload(bucket, key, {})
      const etags: { part: number; etag: string }[] = []
      for (const [index, part] of parts.entries()) {
        const query = `partNumber=${index + 1}&uploadId=${uploadId}`
        const answer = await client.makeRequestAsync(
          { method: 'PUT', bucketName: bucket, objectName: key, query },
          part,
          [200],
        )
        answer.resume()
        etags.push({ part: index + 1, etag: (answer.headers.etag ?? '').replaceAll('"', '') })
      }
      await client.completeMultipartUpload(bucket, key, uploadId, etags)
    },
    /** Undefined when that version (or the current object) is not readable any more. */
    async get(key: string, versionId?: string): Promise<Buffer | undefined> {
      try {
        return await buffer(
          await client.makeRequestAsync(
            { method: 'GET', bucketName: bucket, objectName: key, query: versionQuery(versionId) },
            '',
            [200],
          ),
        )
      } catch (error) {
        const { code } = error as { code?: string }
        if (['NoSuchKey', 'NoSuchVersion', 'NotFound', 'MethodNotAllowed'].includes(code ?? ''))
          return undefined
        throw error
      }
    },
    async tags(key: string, versionId?: string): Promise<Record<string, string>> {
      const query = `tagging${versionId === undefined ? '' : `&versionId=${versionId}`}`
      try {
        const body = await text(
          await client.makeRequestAsync(
            { method: 'GET', bucketName: bucket, objectName: key, query },
            '',
            [200],
          ),
        )
        const parsed = xml.parse(body) as {
          Tagging?: { TagSet?: { Tag?: { Key: string; Value: string }[] } }
        }
        return Object.fromEntries(
          (parsed.Tagging?.TagSet?.Tag ?? []).map(({ Key, Value }) => [Key, Value]),
        )
      } catch (error) {
        const { code } = error as { code?: string }
        if (code?.startsWith('NoSuchTagSet') === true) return {}
        // VersityGW knows the version called `null` by that name only while it lies behind a newer one.
        if (code === 'NoSuchVersion' && versionId === 'null') {
          const found = await uploader.versions(key)
          if (found.find((one) => one.key === key)?.versionId === 'null') return uploader.tags(key)
        }
        throw error
      }
    },
    async versions(prefix: string): Promise<Version[]> {
      const query = `versions&max-keys=1000&prefix=${encodeURIComponent(prefix).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)}`
      const body = await text(
        await client.makeRequestAsync({ method: 'GET', bucketName: bucket, query }, '', [200]),
      )
      const parsed = xml.parse(body) as {
        ListVersionsResult: { Version?: { Key: string; VersionId: string; ETag: string }[] }
      }
      return (parsed.ListVersionsResult.Version ?? []).map(({ Key, VersionId, ETag }) => ({
        key: Key,
        versionId: VersionId,
        etag: ETag.replaceAll(/"|&#34;|&quot;/g, ''),
      }))
    },
    /** Waits until our tag is there with its proof. */
    awaitTag: (uploaded: Uploaded, timeoutMs = 30_000): Promise<Record<string, string>> =>
      eventually(
        async () => {
          const tags = await uploader.tags(uploaded.key, uploaded.versionId)
          if (tags['scanned'] === undefined || tags['scanned-proof'] === undefined)
            throw new Error(
              `${uploaded.key} has the tags ${JSON.stringify(tags)}, and no verdict with a proof`,
            )
          return tags
        },
        { timeoutMs, everyMs: 50 },
      ),
    /** Waits until that version cannot be read any more. */
    awaitDeleted: (uploaded: Uploaded, timeoutMs = 30_000): Promise<unknown> =>
      eventually(
        async () => {
          if ((await uploader.get(uploaded.key, uploaded.versionId)) !== undefined)
            throw new Error(
              `${uploaded.key} (${uploaded.versionId}) can still be read; tags ${JSON.stringify(await uploader.tags(uploaded.key, uploaded.versionId))}`,
            )
        },
        { timeoutMs, everyMs: 50 },
      ),
    close: () => agent.destroy(),
  }
  return uploader
}

export type Uploader = ReturnType<typeof createUploader>
