// A webhook receiver that keeps what it got, checks signatures with the reference library, and answers as scripted, badly too.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import type { VerdictMessage } from '../../services/shared/messages.ts'

/** What tests look into; a message that is no verdict simply lacks some of it. */
export type ReceivedBody = VerdictMessage & {
  data: { scan: NonNullable<VerdictMessage['data']['scan']> }
}

export interface ReceivedRequest {
  path: string
  headers: Record<string, string>
  /** `webhook-id`. */
  id: string
  raw: Buffer
  body: ReceivedBody
  /** Whether the signature fits one of the receiver's secrets, as `standardwebhooks` sees it. */
  verified: boolean
  /** What was answered; missing while, or because, nothing was. */
  status?: number
}

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

export interface WebhookReceiver {
  readonly port: number
  readonly requests: ReceivedRequest[]
  /** Bytes sent on connections that are closed by now. */
  readonly closedBytes: number
  /** Its address under the name by which the notifier reaches it. */
  url(host?: string): string
  /** The next answers, one for each request; then 204. */
  script(...answers: Answer[]): void
  /** What follows after the script, instead of 204. */
  always(answer: Answer): void
  /** Stops listening and cuts every connection, as a receiver that has died. */
  down(): Promise<void>
  /** Listens again, on the same port. */
  up(): Promise<void>
  close(): Promise<void>
}

export interface ReceiverOptions {
  host?: string | undefined
  secrets: readonly string[]
  tls?: { cert: string; key: string }
}

export const secretOf = (fill: number) => `whsec_${Buffer.alloc(32, fill).toString('base64')}`

export const answers = {
  status:
    (status: number, headers: Record<string, string> = {}): Answer =>
    (_, response) =>
      response.writeHead(status, headers).end(),
  late:
    (status: number, delayMs: number): Answer =>
    (_, response) =>
      void setTimeout(() => response.writeHead(status).end(), delayMs),
  /** Takes the request and says nothing. */
  never: (() => {}) as Answer,
  reset: ((request) => request.socket.resetAndDestroy()) as Answer,
  /** An answer whose body goes on for as long as it is read. */
  endlessBody:
    (status: number): Answer =>
    (_, response) => {
      response.writeHead(status)
      const chunk = Buffer.alloc(64 * 1024)
      const more = () => {
        while (!response.destroyed && response.write(chunk));
      }
      response.on('drain', more)
      more()
    },
  /** Headers at once, then one byte of body now and then, for ever. */
  drippingBody:
    (status: number): Answer =>
    (_, response) => {
      response.writeHead(status).flushHeaders()
      const timer = setInterval(() => response.write('.'), 20)
      response.on('close', () => clearInterval(timer))
    },
  /** One header line now and then, for ever. */
  drippingHeaders: ((request) => {
    const { socket } = request
    socket.write('HTTP/1.1 200 OK\r\n')
    const timer = setInterval(() => socket.write('x-drip: drop\r\n'), 20)
    socket.on('close', () => clearInterval(timer))
  }) as Answer,
  notHttp: ((request) => request.socket.end('220 mail.example.org ESMTP\r\n')) as Answer,
}

/** Listens on a free port of `host` (default 127.0.0.1). */
export async function startWebhookReceiver(options: ReceiverOptions): Promise<WebhookReceiver> {
  const requests: ReceivedRequest[] = []
  const verifiers = options.secrets.map((secret) => new Webhook(secret))
  const script: Answer[] = []
  let otherwise = answers.status(204)
  let closedBytes = 0

  const listener = (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('error', () => {})
    request.on('end', () => {
      const raw = Buffer.concat(chunks)
      const headers = Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
      )
      const received: ReceivedRequest = {
        path: request.url ?? '',
        headers,
        id: headers['webhook-id'] ?? '',
        raw,
        body: JSON.parse(raw.toString('utf8')) as ReceivedBody,
        verified: verifiers.some((verifier) => verifies(verifier, raw, headers)),
      }
      requests.push(received)
      response.once('finish', () => (received.status = response.statusCode))
      const answer = script.shift() ?? otherwise
      answer(request, response)
    })
  }
  const server =
    options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener)
  server.on('connection', (socket) =>
    socket.once('close', () => (closedBytes += socket.bytesWritten)),
  )
  server.on('clientError', (_, socket) => socket.destroy())
  const listen = (at: number) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(at, options.host ?? '127.0.0.1', resolve)
    })
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  await listen(0)
  const { port } = server.address() as AddressInfo
  return {
    port,
    requests,
    get closedBytes() {
      return closedBytes
    },
    url: (host = '127.0.0.1') =>
      `${options.tls === undefined ? 'http' : 'https'}://${host}:${port}/hook`,
    script: (...next) => void script.push(...next),
    always: (answer) => {
      otherwise = answer
    },
    down: stop,
    up: () => listen(port),
    close: stop,
  }
}

function verifies(verifier: Webhook, raw: Buffer, headers: Record<string, string>): boolean {
  try {
    verifier.verify(raw, headers)
    return true
  } catch {
    return false
  }
}
