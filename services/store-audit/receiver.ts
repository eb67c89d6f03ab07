// Where the store posts its audit log: HTTPS with a token. 200 says that a batch is worked off; anything else, and it comes again.
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { boundConnections } from './connections.ts'
import type { Config } from '../shared/config-schema.ts'
import { describeError, FatalError, toError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'

export interface Receiver {
  port: number
  /** Connections that have shown the token. */
  readonly known: number
  close(): Promise<void>
}

type Answer = (status: number, error?: string) => void

export const bounds = {
  /** The store sends one batch at a time. */
  most: 32,
  handshakeMs: 5000,
  /** Of the head of a request. */
  headersMs: 5000,
  tokenMs: 10_000,
  /** Of a whole request; the store waits no longer for an answer. */
  requestMs: 60_000,
  keepAliveMs: 60_000,
  /** How often Node looks for those that are late. */
  checkEveryMs: 1000,
}

/** @throws FatalError when the certificate cannot be read or the port is taken. */
export async function startReceiver(
  { host, port, certificate, key, token }: Config['audit'],
  take: (body: AsyncIterable<Buffer>) => Promise<void>,
  log: Log,
  limits: Readonly<typeof bounds> = bounds,
): Promise<Receiver> {
  const isAllowed = tokenCheck(token)
  let trouble: string | undefined
  const server = createServer({
    cert: read(certificate, 'STORE_AUDIT_CERT'),
    key: read(key, 'STORE_AUDIT_KEY'),
    minVersion: 'TLSv1.2',
    handshakeTimeout: limits.handshakeMs,
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    maxHeaderSize: 16_384,
  })
  const connections = boundConnections(server, limits)
  server.on('tlsClientError', (error) => log.debug('TLS of a client', { error }))
  const work = async (request: IncomingMessage, answer: Answer) => {
    try {
      await take(request)
      trouble = undefined
      answer(200)
    } catch (thrown) {
      const error = toError(thrown)
      // The store sends it again every three seconds: said once. An end in the middle is the store's affair.
      if (!request.destroyed && describeError(error) !== trouble)
        log.warn('a batch of the audit log cannot be taken, the store keeps it', { error })
      trouble = describeError(error)
      answer(503, trouble)
    }
  }
  server.on('request', (request, response) => {
    const answer: Answer = (status, error) => {
      if (response.destroyed || response.headersSent) return
      // What is left of a body that nobody reads would be taken for the next request; and without the token nobody stays.
      if (!request.complete || status === 401) response.setHeader('connection', 'close')
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(error === undefined ? '{"status":"ok"}' : JSON.stringify({ error }))
    }
    if (!isAllowed(request.headers.authorization))
      return answer(401, 'the token is missing or wrong')
    connections.know(request.socket)
    if (request.method !== 'POST') return answer(405, 'POST only')
    void work(request, answer)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new FatalError(
          `listen on ${host}:${port}: ${describeError(error)}`,
          'another process has this port; set STORE_AUDIT_PORT',
          { cause: error },
        ),
      ),
    )
    server.listen(port, host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    get known() {
      return connections.known
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
        connections.closeStrangers()
      }),
  }
}

const digest = (text: string) => createHash('sha256').update(text).digest()

/** As long for a wrong token as for the right one. */
function tokenCheck(token: string): (header: string | undefined) => boolean {
  const wanted = digest(token)
  return (header = '') => timingSafeEqual(digest(header.replace(/^Bearer /i, '')), wanted)
}

function read(file: string, setting: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new FatalError(
      `read ${file}: ${describeError(error)}`,
      `${setting} names a file that \`init certificates\` writes`,
      { cause: error },
    )
  }
}
