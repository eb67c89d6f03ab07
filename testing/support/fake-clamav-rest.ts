// A clamav-rest over https, written from its documented replies, that answers one armed upload with any of the
// replies that must not be taken for a finding.
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { judge } from './fake-judge.ts'
import { testCertificate, type TestCertificate } from './test-certificate.ts'

export interface RestHostility {
  title: string
  /** before the body was read, or after */
  at: 'request' | 'complete'
  status: number
  body: string
  headers?: Record<string, string>
  /** cuts the connection instead of answering, or in the middle of the answer */
  cut?: 'before' | 'within'
}

const ok = { Status: 'OK', Description: '', FileName: 'object' }
const found = { Status: 'FOUND', Description: 'Eicar', FileName: 'object' }
const at = 'complete' as const

export const hostileAnswers: RestHostility[] = [
  {
    title: '413, which is also how it reports a lost clamd',
    at,
    status: 413,
    body: JSON.stringify([
      { Status: 'PARSE ERROR', Description: 'File size limit exceeded', FileName: 'object' },
    ]),
  },
  { title: '413 with OK inside', at, status: 413, body: JSON.stringify([ok]) },
  {
    title: '413 before it has the object',
    at: 'request',
    status: 413,
    body: 'Request Entity Too Large',
  },
  { title: 'an empty list, which is how it reports a silent clamd', at, status: 200, body: '[]' },
  { title: 'OK twice', at, status: 200, body: JSON.stringify([ok, ok]) },
  { title: 'OK and FOUND', at, status: 406, body: JSON.stringify([ok, found]) },
  {
    title: 'OK for another file',
    at,
    status: 200,
    body: JSON.stringify([{ ...ok, FileName: 'other' }]),
  },
  { title: 'OK without a file name', at, status: 200, body: '[{"Status":"OK","Description":""}]' },
  { title: 'OK that is not in a list', at, status: 200, body: JSON.stringify(ok) },
  { title: 'OK under another status', at, status: 202, body: JSON.stringify([ok]) },
  { title: 'OK under 406', at, status: 406, body: JSON.stringify([ok]) },
  { title: 'FOUND under 200', at, status: 200, body: JSON.stringify([found]) },
  {
    title: 'FOUND without a name',
    at,
    status: 406,
    body: JSON.stringify([{ ...found, Description: '' }]),
  },
  { title: 'ok in lower case', at, status: 200, body: JSON.stringify([{ ...ok, Status: 'ok' }]) },
  { title: 'OK before it has the object', at: 'request', status: 200, body: JSON.stringify([ok]) },
  {
    title: 'an error of the scan',
    at,
    status: 400,
    body: JSON.stringify([{ ...ok, Status: 'ERROR', Description: 'stream: Malformed' }]),
  },
  {
    title: 'a reply it could not read',
    at,
    status: 412,
    body: JSON.stringify([{ ...ok, Status: 'PARSE ERROR' }]),
  },
  {
    title: 'a missing file name',
    at,
    status: 422,
    body: JSON.stringify([{ Status: 'ERROR', Description: 'MimePart FileName missing' }]),
  },
  {
    title: 'an unknown status',
    at,
    status: 501,
    body: JSON.stringify([{ ...ok, Status: 'WHAT' }]),
  },
  { title: 'the plain text of the other endpoint', at, status: 200, body: '{OK  200}' },
  { title: 'the web page of a proxy', at, status: 200, body: '<html>OK</html>' },
  { title: 'nothing under 200', at, status: 200, body: '' },
  { title: 'no content', at, status: 204, body: '' },
  {
    title: 'a redirect',
    at,
    status: 302,
    body: '',
    headers: { location: 'https://127.0.0.1:1/v2/scan' },
  },
  {
    title: 'a redirect that repeats the request',
    at,
    status: 307,
    body: JSON.stringify([ok]),
    headers: { location: '/v2/scan' },
  },
  { title: 'a bad gateway', at, status: 502, body: 'Bad Gateway' },
  {
    title: 'an endless answer',
    at,
    status: 200,
    body: `[${' '.repeat(100_000)}${JSON.stringify(ok)}]`,
  },
  { title: 'half an answer', at, status: 200, body: JSON.stringify([ok]), cut: 'within' },
  { title: 'a cut after the object', at, status: 200, body: '', cut: 'before' },
  { title: 'a cut before the object', at: 'request', status: 200, body: '', cut: 'before' },
]

export interface FakeClamavRest {
  port: number
  certificate: TestCertificate
  folder: string
  /** the answer to GET /version */
  version: { status: number; body: string }
  judge: (bytes: Buffer) => string | undefined
  arm(hostility: RestHostility): void
  freeze(): void
  readonly seen: { uploads: { declared: number; received: number; body: Buffer }[] }
  kill(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
}

export async function startFakeClamavRest(
  options: { maxScanBytes?: number } = {},
): Promise<FakeClamavRest> {
  const folder = await mkdtemp(join(tmpdir(), 'fake-clamav-rest-'))
  const certificate = await testCertificate(folder)
  const limits = { maxScanBytes: options.maxScanBytes ?? 400_000_000 }
  const sockets = new Set<Socket>()
  let server: Server | undefined
  let armed: RestHostility | undefined
  let frozen = false
  const fake: FakeClamavRest = {
    port: 0,
    certificate,
    folder,
    version: {
      status: 200,
      body: '{ "Clamav": "1.4.6", "Signature": "27800" , "Signature_date": "Fri Nov 20 09:12:47 2026" }',
    },
    judge: (bytes) => judge(bytes, limits),
    arm: (hostility) => (armed = hostility),
    freeze: () => (frozen = true),
    seen: { uploads: [] },
    kill: async () => {
      const closed = new Promise((resolve) => server?.close(resolve))
      for (const socket of sockets) socket.destroy()
      if (server?.listening) await closed
      frozen = false
    },
    start: async () => {
      server = createServer(
        { cert: certificate.cert, key: certificate.key },
        (request, response) => {
          answer(request, response).catch(() => response.destroy())
        },
      )
      server.on('connection', (socket: Socket) => {
        sockets.add(socket)
        socket.on('close', () => sockets.delete(socket))
      })
      await new Promise<void>((resolve) => server?.listen(fake.port, '127.0.0.1', resolve))
      const address = server.address()
      if (address !== null && typeof address === 'object') fake.port = address.port
    },
    close: async () => {
      await fake.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === '/version') {
      response
        .writeHead(fake.version.status, { 'content-type': 'application/json' })
        .end(fake.version.body)
      return
    }
    if (request.method !== 'POST' || request.url !== '/v2/scan') {
      response.writeHead(404).end('404 page not found')
      return
    }
    // The body stays in the socket.
    if (frozen) return
    const hostility = armed
    armed = undefined
    if (hostility?.at === 'request') return misbehave(hostility, response)
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = Buffer.concat(parts)
    fake.seen.uploads.push({
      declared: Number(request.headers['content-length']),
      received: body.length,
      body,
    })
    if (hostility) return misbehave(hostility, response)
    const { bytes, fileName } = partOf(request.headers['content-type'] ?? '', body)
    const signature = fake.judge(bytes)
    const status = signature === undefined ? 200 : 406
    response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(
      JSON.stringify([
        {
          Status: signature === undefined ? 'OK' : 'FOUND',
          Description: signature ?? '',
          FileName: fileName,
        },
      ]),
    )
  }

  await fake.start()
  return fake
}

function misbehave(hostility: RestHostility, response: ServerResponse): void {
  const { status, body, headers, cut } = hostility
  if (cut === 'before') return void response.socket?.destroy()
  response.writeHead(status, headers)
  if (cut !== 'within') return void response.end(body)
  response.write(body, () => response.socket?.destroy())
}

/** The one part of a multipart body, taken apart strictly. */
function partOf(contentType: string, body: Buffer): { bytes: Buffer; fileName: string } {
  const boundary = /^multipart\/form-data; boundary=([\w-]{1,70})$/.exec(contentType)?.[1] ?? ''
  const tail = `\r\n--${boundary}--\r\n`
  const start = body.indexOf('\r\n\r\n') + 4
  const head = body.toString('latin1', 0, start)
  const fileName = /filename="([^"]+)"/.exec(head)?.[1]
  if (
    !head.startsWith(`--${boundary}\r\n`) ||
    body.toString('latin1', body.length - tail.length) !== tail ||
    fileName === undefined
  )
    throw new Error('not one part of multipart/form-data')
  return { bytes: body.subarray(start, body.length - tail.length), fileName }
}
