// What TLS costs a worker for one small object: the two requests to a store, with and without it, in the CPU time of the client's thread.
import {
  createServer as createHttpServer,
  Agent as HttpAgent,
  request as httpRequest,
} from 'node:http'
import {
  createServer as createHttpsServer,
  Agent as HttpsAgent,
  request as httpsRequest,
} from 'node:https'
import type { IncomingMessage, RequestListener } from 'node:http'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { testCertificate } from '../support/test-certificate.ts'
import type { Bench } from './bench.ts'
import { median, round } from './report.ts'

interface Ports {
  http: number
  https: number
}

const [objectBytes, tagBytes] = [12_500, 350]
const [objects, atATime, rounds] = [2000, 4, 5]

export async function tlsCost({ folder, figure }: Bench): Promise<void> {
  const place = join(folder, 'tls')
  mkdirSync(place, { recursive: true })
  const { cert, key } = await testCertificate(place)
  const server = new Worker(new URL(import.meta.url), { workerData: { cert, key } })
  const [ports] = (await once(server, 'message')) as [Ports]
  const secure = new HttpsAgent({ keepAlive: true, ca: cert })
  const plain = new HttpAgent({ keepAlive: true })
  const viaTls = { send: httpsRequest, agent: secure, port: ports.https }
  const withoutTls = { send: httpRequest, agent: plain, port: ports.http }
  const spent = { tls: [] as number[], plain: [] as number[] }
  // The first round meets code that has not been compiled.
  for (let at = 0; at <= rounds; at++) {
    const [tls, without] = [await cpuMsOf(viaTls), await cpuMsOf(withoutTls)]
    if (at === 0) continue
    spent.tls.push(tls)
    spent.plain.push(without)
  }
  secure.destroy()
  plain.destroy()
  await server.terminate()
  const [tls, without] = [median(spent.tls), median(spent.plain)]
  figure(
    'What TLS costs',
    'GET of 12.5 KB and PUT of its tags, CPU of the client',
    `${round(tls, 2)} ms with TLS, ${round(without, 2)} ms without: ${round(tls - without, 2)} ms for an object`,
  )
}

/** CPU ms of this thread for one object. */
async function cpuMsOf(way: {
  send: typeof httpRequest | typeof httpsRequest
  agent: HttpAgent
  port: number
}): Promise<number> {
  const ask = async (method: string, body?: Buffer) => {
    const headers = body === undefined ? {} : { 'content-length': body.length }
    const sent = way.send({ ...way, host: '127.0.0.1', path: '/bucket/key', method, headers })
    sent.end(body)
    const [answer] = (await once(sent, 'response')) as [IncomingMessage]
    await buffer(answer)
  }
  const tags = Buffer.alloc(tagBytes)
  let left = objects
  const before = process.threadCpuUsage()
  const work = async () => {
    while (left-- > 0) {
      await ask('GET')
      await ask('PUT', tags)
    }
  }
  await Promise.all(Array.from({ length: atATime }, work))
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / 1000 / objects
}

async function serve(): Promise<void> {
  const object = Buffer.alloc(objectBytes)
  const answer: RequestListener = (request, response) => {
    request.resume().on('end', () => response.end(request.method === 'GET' ? object : undefined))
  }
  const servers = [createHttpServer(answer), createHttpsServer(workerData as object, answer)]
  for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening')
  const [http, https] = servers.map((server) => (server.address() as AddressInfo).port)
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage({ http, https })
}

if (!isMainThread) await serve()
