// Where the store posts its audit log: HTTPS with a token. 200 says that a batch is worked off; anything else, and it comes again.
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Config } from '../shared/config-schema.ts'
import { describeError, FatalError, toError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'

export interface Receiver {
  port: number
  close(): Promise<void>
}

type Answer = (status: number, error?: string) => void

/** The store sends one batch at a time. */
const mostConnections = 32
/** Longer than the store waits for an answer. */
const requestTimeoutMs = 120_000
const keepAliveMs = 60_000

/** @throws FatalError when the certificate cannot be read or the port is taken. */
export async function startReceiver(
  { host, port, certificate, key, token }: Config['audit'],
  take: (body: AsyncIterable<Buffer>) => Promise<void>,
  log: Log,
): Promise<Receiver> {
  const isAllowed = tokenCheck(token)
  let trouble: string | undefined
  const server = createServer({
    cert: read(certificate, 'STORE_AUDIT_CERT'),
    key: read(key, 'STORE_AUDIT_KEY'),
    minVersion: 'TLSv1.2',
    requestTimeout: requestTimeoutMs,
    maxHeaderSize: 16_384,
  })
  server.maxConnections = mostConnections
  server.keepAliveTimeout = keepAliveMs
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
      // What is left of a body that nobody reads would be taken for the next request.
      if (!request.complete) response.setHeader('connection', 'close')
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(error === undefined ? '{"status":"ok"}' : JSON.stringify({ error }))
    }
    if (!isAllowed(request.headers.authorization))
      return answer(401, 'the token is missing or wrong')
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
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
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
