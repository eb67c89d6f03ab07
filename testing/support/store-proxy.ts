// Stands between one of our processes and the store: passes every request on as it is, and lets a test hold it.
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { rootCertificates } from 'node:tls'
import { Agent, request } from 'undici'

export interface StoreProxy {
  /** For MINIO_SERVER_URL. */
  url: string
  /** Called for each request, `GET /bucket/key?tagging`; it goes on when the promise is settled. */
  before: (call: string) => Promise<void> | void
  close(): Promise<void>
}

export async function storeProxy(storeUrl: string, caFile: string): Promise<StoreProxy> {
  const ca = [...rootCertificates, readFileSync(caFile, 'utf8')]
  const agent = new Agent({ connect: { ca } })
  const pass = async (asked: IncomingMessage, answer: ServerResponse) => {
    const { method = 'GET', url = '/', headers } = asked
    const body = await buffer(asked)
    await proxy.before(`${method} ${url}`)
    const { connection: _, 'transfer-encoding': __, ...sent } = headers
    const given = await request(`${storeUrl}${url}`, {
      method: method as 'GET',
      // The signature covers the host that was asked.
      headers: sent as Record<string, string>,
      body: body.length === 0 ? null : body,
      dispatcher: agent,
    })
    const { connection: ___, ...passed } = given.headers
    answer.writeHead(given.statusCode, passed)
    given.body.pipe(answer)
  }
  const server = createServer((asked, answer) => {
    pass(asked, answer).catch(() => answer.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const proxy: StoreProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    before: () => undefined,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await agent.destroy()
    },
  }
  return proxy
}
