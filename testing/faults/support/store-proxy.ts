// A proxy between the services and the store. It ends TLS with the store's own certificate and passes requests on as they
// are (the signature covers the Host header, which stays), so that it can answer, slow down, cut or stop chosen ones.
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Agent, createServer, request as requestTls } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import type { Layout } from '../../../services/cli/layout.ts'

export type StoreFault =
  /** An error of S3 instead of an answer; the store never hears of the request. */
  | { kind: 'answer'; status: number; code: string }
  /** The connection is reset when that share (0 … 1) of the body has been sent. */
  | { kind: 'reset'; afterShare: number }
  /** The same, but the rest simply never comes. */
  | { kind: 'stall'; afterShare: number }
  /** The answer begins late, and its body comes at that pace. */
  | { kind: 'slow'; delayMs: number; bytesPerSecond: number }

export interface ProxiedRequest {
  method: string
  /** Path and query as sent. */
  url: string
  /** Counts all requests, from 0. */
  index: number
}

/** What happens to a request; undefined: it is passed on. */
export type FaultPlan = (request: ProxiedRequest) => StoreFault | undefined

export interface StoreProxy {
  readonly port: number
  readonly url: string
  /** How many requests came, and how many of them met which fault. */
  readonly seen: { requests: number; faults: Record<StoreFault['kind'], number> }
  plan(next: FaultPlan): void
  close(): Promise<void>
}

/** A GET of an object (not of tags, listings or buckets). */
export function isDownload({ method, url }: ProxiedRequest): boolean {
  const [path = '', query = ''] = url.split('?')
  return method === 'GET' && path.split('/').length > 2 && !/(^|&)tagging/.test(query)
}

const passAll: FaultPlan = () => undefined

/** Listens on a free port of 127.0.0.1, before the store at `storePort` of the deployment with that layout. */
export async function startStoreProxy(options: {
  layout: Pick<Layout, 'storeCerts' | 'caFile'>
  storePort: number
}): Promise<StoreProxy> {
  const { layout, storePort } = options
  const agent = new Agent({ keepAlive: true, ca: readFileSync(layout.caFile) })
  const sockets = new Set<Socket>()
  // Only the bare TCP socket can be reset; the request knows the TLS one above it.
  const bare = new Map<number, Socket>()
  const seen: StoreProxy['seen'] = {
    requests: 0,
    faults: { answer: 0, reset: 0, stall: 0, slow: 0 },
  }
  let plan: FaultPlan = passAll

  const forward = (
    request: IncomingMessage,
    response: ServerResponse,
    fault: StoreFault | undefined,
  ) => {
    const sent = requestTls({
      host: '127.0.0.1',
      port: storePort,
      method: request.method,
      path: request.url,
      headers: request.rawHeaders,
      setHost: false,
      agent,
    })
    const cut = () => bare.get(request.socket.remotePort ?? 0)?.resetAndDestroy()
    sent.once('error', cut)
    response.once('close', () => sent.destroy())
    sent.once('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
      answer.once('error', cut)
      const length = Number(answer.headers['content-length'] ?? 0)
      if (fault?.kind === 'slow') answer.pipe(slowly(fault.bytesPerSecond)).pipe(response)
      else if (fault?.kind === 'reset' || fault?.kind === 'stall') {
        const allowed = Math.floor(length * fault.afterShare)
        void sendSome(answer, response, allowed).then(fault.kind === 'reset' ? cut : undefined)
      } else answer.pipe(response)
    })
    const delayMs = fault?.kind === 'slow' ? fault.delayMs : 0
    void pause(delayMs).then(() => request.pipe(sent))
  }

  const server = createServer(
    {
      cert: readFileSync(join(layout.storeCerts, 'public.crt')),
      key: readFileSync(join(layout.storeCerts, 'private.key')),
    },
    (request, response) => {
      const { method = '', url = '' } = request
      const fault = plan({ method, url, index: seen.requests++ })
      if (fault !== undefined) seen.faults[fault.kind]++
      if (fault?.kind === 'answer') refuse(request, response, fault)
      else forward(request, response, fault)
    },
  )
  server.on('connection', (socket: Socket) => {
    const { remotePort = 0 } = socket
    sockets.add(socket)
    bare.set(remotePort, socket)
    socket.on('error', () => {})
    socket.once('close', () => {
      sockets.delete(socket)
      if (bare.get(remotePort) === socket) bare.delete(remotePort)
    })
  })
  server.on('clientError', (_: Error, socket: Socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `https://127.0.0.1:${port}`,
    seen,
    plan: (next) => {
      plan = next
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      agent.destroy()
      await closed
    },
  }
}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  { status, code }: { status: number; code: string },
): void {
  request.resume()
  const body =
    `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code>` +
    `<Message>Please reduce your request rate.</Message></Error>`
  response.writeHead(status, { 'content-type': 'application/xml', 'content-length': body.length })
  response.end(request.method === 'HEAD' ? undefined : body)
}

/** Resolves when `allowed` bytes have left. */
async function sendSome(from: IncomingMessage, to: ServerResponse, allowed: number): Promise<void> {
  let left = allowed
  to.flushHeaders()
  for await (const chunk of from as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, left)
    left -= part.length
    await new Promise<void>((resolve) => void to.write(part, () => resolve()))
    if (left === 0) break
  }
}

function slowly(bytesPerSecond: number): Transform {
  const ticksPerSecond = 20
  const step = Math.max(1, Math.round(bytesPerSecond / ticksPerSecond))
  return new Transform({
    async transform(chunk: Buffer, _, done) {
      for (let at = 0; at < chunk.length; at += step) {
        this.push(chunk.subarray(at, at + step))
        await pause(1000 / ticksPerSecond)
      }
      done()
    },
  })
}
