// Every way in which an uploader can choose the identity of an object on MinIO: version id, ETag and date, with or without an
// event. For tests only; each write goes to a bucket of the test.
import { createHash } from 'node:crypto'
import { text } from 'node:stream/consumers'
import type { Client } from 'minio'
import { postForm, sendBare } from './post-form.ts'

export interface Forger {
  client: Client
  bucket: string
  /** PEM of the store's CA. */
  ca: string
}

export interface Forged {
  key: string
  /** The version id that the writer chooses. */
  version: string
  etag: string
  body: Buffer
}

export interface Way {
  name: string
  /** Whether the store's policy for uploaders refuses it. */
  refused: boolean
  /** Whether MinIO tells of it by an event. */
  event: boolean
  /** Whether the entry of the audit log names the object. */
  named: boolean
  write(forger: Forger, forged: Forged): Promise<void>
}

const replication = { 'x-minio-source-replication-request': 'true' }
const etagAndDate = ({ etag }: Forged) => ({
  'x-minio-source-etag': etag,
  'x-minio-source-mtime': '2020-01-02T03:04:05Z',
})
const versionIn = ({ version }: Forged) => `versionId=${version}`

interface Sent {
  query?: string
  headers?: Record<string, string>
  body?: Buffer | string
}

/** @throws the store's refusal */
async function send(
  { client, bucket }: Forger,
  method: string,
  key: string,
  { query = '', headers = {}, body = '' }: Sent = {},
) {
  const answer = await client.makeRequestAsync(
    // It writes into what it is given.
    { method, bucketName: bucket, objectName: key, query, headers: { ...headers } },
    body,
    [200, 204],
  )
  return { headers: answer.headers, text: await text(answer) }
}

const put =
  (query: (forged: Forged) => string, headers: (forged: Forged) => Record<string, string>) =>
  async (forger: Forger, forged: Forged) => {
    const { key, body } = forged
    await send(forger, 'PUT', key, { query: query(forged), headers: headers(forged), body })
  }

const none = () => ''
const noHeaders = () => ({})

async function copy(forger: Forger, forged: Forged, query: string, headers: object) {
  const source = `${forged.key}.source`
  await send(forger, 'PUT', source, { body: forged.body })
  await send(forger, 'PUT', forged.key, {
    query,
    headers: { 'x-amz-copy-source': `/${forger.bucket}/${encodeURIComponent(source)}`, ...headers },
  })
}

async function multipart(
  forger: Forger,
  { key, body }: Forged,
  begin: { query?: string; headers?: Record<string, string> },
  end: { query?: string; headers?: Record<string, string> },
) {
  const uploads = begin.query === undefined ? 'uploads' : `uploads&${begin.query}`
  const begun = await send(forger, 'POST', key, { query: uploads, headers: begin.headers ?? {} })
  const id = /<UploadId>([^<]*)</.exec(begun.text)?.[1] ?? ''
  const part = await send(forger, 'PUT', key, { query: `partNumber=1&uploadId=${id}`, body })
  const etag = part.headers.etag ?? ''
  await send(forger, 'POST', key, {
    query: [`uploadId=${id}`, ...(end.query === undefined ? [] : [end.query])].join('&'),
    headers: end.headers ?? {},
    body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`,
  })
}

async function presigned({ client, bucket, ca }: Forger, forged: Forged) {
  const url = await client.presignedPutObject(bucket, forged.key, 600)
  await sendBare(ca, url, 'PUT', { ...etagAndDate(forged), ...replication }, forged.body)
}

const form = (forger: Forger, forged: Forged, query: string) =>
  postForm(forger, forged.key, forged.body, {
    query,
    headers: { ...etagAndDate(forged), ...replication },
  })

const archive = (headers: Record<string, string>) => async (forger: Forger, forged: Forged) => {
  const records = {
    'minio.versionId': forged.version,
    'minio.metadata.x-minio-source-etag': forged.etag,
  }
  await send(forger, 'PUT', 'some.tar', {
    headers: { 'x-amz-meta-snowball-auto-extract': 'true', ...headers },
    body: paxTar(forged.key, forged.body, records),
  })
}

export const ways: readonly Way[] = [
  {
    name: 'a version in the query of a PUT',
    refused: true,
    event: true,
    named: true,
    write: put(versionIn, noHeaders),
  },
  {
    name: 'a version and the header that suppresses the event',
    refused: true,
    event: false,
    named: true,
    write: put(versionIn, (forged) => ({ ...etagAndDate(forged), ...replication })),
  },
  ...['x-minio-source-etag', 'x-minio-source-mtime'].map((header) => ({
    name: `the header ${header}`,
    refused: false,
    event: true,
    named: true,
    write: put(none, (forged) => ({
      [header]: header.endsWith('mtime') ? '2020-01-02T03:04:05Z' : forged.etag,
    })),
  })),
  {
    name: 'the header x-minio-source-replication-request',
    refused: false,
    event: false,
    named: true,
    write: put(none, () => replication),
  },
  {
    name: 'two slashes before the key',
    refused: false,
    event: false,
    named: true,
    write: (forger, forged) =>
      put(none, () => replication)(forger, { ...forged, key: `/${forged.key}` }),
  },
  {
    name: 'a presigned URL with unsigned headers',
    refused: false,
    event: false,
    named: true,
    write: presigned,
  },
  {
    name: 'a POST form',
    refused: false,
    event: false,
    named: true,
    write: (forger, forged) => form(forger, forged, ''),
  },
  {
    name: 'a POST form with a version',
    refused: true,
    event: false,
    named: true,
    write: (forger, forged) => form(forger, forged, `?${versionIn(forged)}`),
  },
  {
    name: 'CopyObject with a version',
    refused: true,
    event: true,
    named: true,
    write: (forger, forged) => copy(forger, forged, versionIn(forged), {}),
  },
  {
    name: 'CopyObject without an event',
    refused: false,
    event: false,
    named: true,
    write: (forger, forged) => copy(forger, forged, '', replication),
  },
  {
    name: 'an upload in parts begun with a version',
    refused: true,
    event: true,
    named: true,
    write: (forger, forged) => multipart(forger, forged, { query: versionIn(forged) }, {}),
  },
  {
    name: 'an upload in parts begun with an ETag',
    refused: false,
    event: true,
    named: true,
    write: (forger, forged) => multipart(forger, forged, { headers: etagAndDate(forged) }, {}),
  },
  {
    name: 'an upload in parts ended without an event',
    refused: false,
    event: false,
    named: true,
    write: (forger, forged) => multipart(forger, forged, {}, { headers: replication }),
  },
  {
    name: 'an archive',
    refused: false,
    event: true,
    named: false,
    write: archive({}),
  },
  {
    name: 'an archive without events',
    refused: false,
    event: false,
    named: false,
    write: archive(replication),
  },
]

const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`

function member(name: string, type: string, bytes: Buffer): Buffer {
  const header = Buffer.alloc(512)
  header.write(name)
  header.write(`${octal(0o644, 8)}${octal(0, 8)}${octal(0, 8)}${octal(bytes.length, 12)}`, 100)
  header.write(octal(1_700_000_000, 12), 136)
  header.write('        ', 148)
  header.write(type, 156)
  header.write('ustar\u{0}00', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)])
}

/** A tar of one file with PAX records, which no policy of the store sees. */
export function paxTar(
  name: string,
  bytes: Buffer,
  records: Readonly<Record<string, string>>,
): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = ` ${key}=${value}\n`
    // The number counts its own digits.
    let length = Buffer.byteLength(rest)
    while (String(length).length + Buffer.byteLength(rest) !== length)
      length = String(length).length + Buffer.byteLength(rest)
    return `${length}${rest}`
  })
  return Buffer.concat([
    member('PaxHeaders/0', 'x', Buffer.from(lines.join(''))),
    member(name, '0', bytes),
    Buffer.alloc(1024),
  ])
}

export const etagOf = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex')
