// One signed request to an S3-compatible store: signed by aws4, sent by undici, whose clocks tell a silent store from a slow reader.
// (The minio package derives its key anew for each request, leaves answers unread that it does not like, and reads tags of digits as
// numbers.)
import { createHash, createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import aws4 from 'aws4'
import { XMLParser } from 'fast-xml-parser'
import { Pool, type Dispatcher } from 'undici'
import { StoreUnavailableError } from './errors.ts'
import { trustedCas } from './trust.ts'

export interface StoreOptions {
  url: string
  region: string
  user: string
  password: string
  /** PEM file with a CA to trust besides the public ones; '' for none. */
  caFile: string
  /** Longest silence of the store, before it answers and in an answer, while we read. */
  timeoutMs: number
}

export interface S3Request {
  method: 'GET' | 'HEAD' | 'PUT' | 'PATCH' | 'DELETE'
  bucket: string
  /** None: the bucket itself. */
  key?: string
  /** As it is sent, each value through `queryEncode`. */
  query?: string
  headers?: Record<string, string>
  body?: Buffer
}

/** `body` has to be read to its end, dumped or destroyed. */
export type S3Answer = Dispatcher.ResponseData

/** What the store answered instead, in its words. */
export class S3Error extends Error {
  override name = 'S3Error'
  /** `NoSuchKey`, …; undefined of an answer that is not S3's. */
  readonly code: string | undefined
  /** The store's clock. */
  readonly servedAt: Date

  constructor(code: string | undefined, message: string, servedAt: Date) {
    super(message)
    this.code = code
    this.servedAt = servedAt
  }
}

export interface S3 {
  /** @throws S3Error for any status but 2xx; StoreUnavailableError for one that tells of trouble; undici's errors. */
  request(request: S3Request): Promise<S3Answer>
  close(): void
}

/** The store's own trouble, or a proxy's in front of it. */
const isTroubled = (status: number) =>
  (status >= 500 && status !== 501) || status === 408 || status === 429

export function connectS3(options: StoreOptions): S3 {
  const { protocol, host, origin } = new URL(options.url)
  const secure = protocol === 'https:'
  // A context and not `ca`, which would be parsed anew for each connection.
  const ca = secure ? trustedCas(options.caFile) : undefined
  const pool = new Pool(origin, {
    connections: 256,
    pipelining: 1,
    allowH2: false,
    // An uploader's form may hold a megabyte in one header (Content-Disposition), which MinIO then gives with each answer.
    maxHeaderSize: 16 * 1024 * 1024,
    headersTimeout: options.timeoutMs,
    bodyTimeout: options.timeoutMs,
    keepAliveTimeout: 60_000,
    connect: {
      timeout: options.timeoutMs,
      ...(ca === undefined ? {} : { secureContext: createSecureContext({ ca }) }),
    },
  })
  const credentials = { accessKeyId: options.user, secretAccessKey: options.password }
  const sign = ({ method, bucket, key, query, headers, body }: S3Request) => {
    const path = `/${bucket}/${key === undefined ? '' : key.split('/').map(queryEncode).join('/')}`
    const signed = new Signer(
      {
        service: 's3',
        region: options.region,
        host,
        method,
        path: query === undefined ? path : `${path}?${query}`,
        headers: {
          ...headers,
          host,
          'user-agent': 'bucket-av-scanner',
          // Without TLS the signature is all that says what the body is.
          'x-amz-content-sha256': secure ? 'UNSIGNED-PAYLOAD' : sha256(body ?? ''),
        },
      },
      credentials,
    ).sign()
    return { path: signed.path as string, headers: signed.headers as Record<string, string> }
  }
  return {
    async request(request) {
      const { method, body = null } = request
      // `reset`: undici would close the connection after each HEAD, for servers that send a body with it.
      const answer = await pool.request({ ...sign(request), method, body, reset: false })
      const { statusCode } = answer
      if (statusCode >= 200 && statusCode < 300) {
        // An uncaught one would end the process; whoever reads gets it.
        answer.body.on('error', () => {})
        return answer
      }
      if (isTroubled(statusCode)) {
        await answer.body.dump().catch(() => {})
        throw new StoreUnavailableError(`store ${host} answered ${statusCode}`)
      }
      throw errorOf(answer, await answer.body.text())
    },
    close: () => void pool.destroy(),
  }
}

/** Signs with a KeyObject: from any other key Node 24 makes one for each request, which takes six times as long as the HMAC. */
class Signer extends aws4.RequestSigner {
  static #day = ''
  static #key: KeyObject

  override signature(): string {
    const { secretAccessKey = '' } = this.credentials
    const day = [secretAccessKey, this.getDate(), this.region, this.service].join('\n')
    if (day !== Signer.#day) {
      const steps = [this.getDate(), this.region, this.service, 'aws4_request']
      const key = steps.reduce<string | Buffer>(
        (from, step) => createHmac('sha256', from).update(step).digest(),
        `AWS4${secretAccessKey}`,
      )
      Signer.#key = createSecretKey(key as Buffer)
      Signer.#day = day
    }
    return createHmac('sha256', Signer.#key).update(this.stringToSign()).digest('hex')
  }
}

/** As signatures are computed: encodeURIComponent leaves !'()* alone, and the store then refuses the signature. */
export function queryEncode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replaceAll(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

const sha256 = (body: string | Buffer) => createHash('sha256').update(body).digest('hex')

// A message of digits stays a text.
const xml = new XMLParser({ parseTagValue: false, htmlEntities: true })

/** Of an answer without a body (of a HEAD it is all there is) its status is what it says. */
const codes: Record<number, string> = {
  301: 'MovedPermanently',
  307: 'TemporaryRedirect',
  403: 'AccessDenied',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  412: 'PreconditionFailed',
  501: 'NotImplemented',
}

function errorOf({ statusCode, headers }: S3Answer, body: string): S3Error {
  const header = headers['x-minio-error-code']
  const named = codes[statusCode] ?? (typeof header === 'string' ? header : 'UnknownError')
  const at = servedAt(headers)
  if (body.trim() === '') {
    const said = headers['x-minio-error-desc']
    const detail = typeof said === 'string' ? `: ${said}` : ''
    return new S3Error(named, `the store answered ${statusCode}${detail}`, at)
  }
  const { Code: code, Message: message } = parseError(body)
  return new S3Error(code, message ?? code ?? `an answer ${statusCode} that is not S3's`, at)
}

/** The time on the store's clock at its answer. Without a clock of its own (RFC 9110) it is ours that counts. */
export function servedAt({ date }: S3Answer['headers']): Date {
  const time = new Date(typeof date === 'string' ? date : Number.NaN)
  return Number.isNaN(time.getTime()) ? new Date() : time
}

function parseError(body: string): { Code?: string; Message?: string } {
  try {
    return (xml.parse(body) as { Error?: object }).Error ?? {}
  } catch {
    return {}
  }
}
