// /healthz (alive), /readyz (working; 503 with the reasons) and /metrics (Prometheus) of one process.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Registry } from '@prometheus-io/client'
import type { Config } from './config-schema.ts'
import { FatalError, describeError, errorCode } from './errors.ts'
import type { Log } from './log.ts'

export interface HealthOptions {
  /** Why the process is not ready, in words; empty when it is. */
  notReady(): string[]
  /** Facts for people, shown by /readyz. */
  facts?(): Record<string, unknown>
  registry: Registry
  /** Called before /metrics answers, for gauges that are looked up. */
  collect?(): void
}

export interface Health {
  port: number
  close(): Promise<void>
}

/** @throws FatalError when the port is taken. */
export async function startHealth(
  config: Config,
  log: Log,
  options: HealthOptions,
): Promise<Health> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: string, type = 'application/json') => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body)
    }
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return answer(405, '{"error":"GET only"}')
    const [path = ''] = (request.url ?? '').split('?')
    // An exception in this callback would end the process.
    try {
      respond(path, answer)
    } catch (error) {
      answer(500, JSON.stringify({ error: describeError(error) }))
    }
  })
  const respond = (path: string, answer: (status: number, body: string, type?: string) => void) => {
    switch (path) {
      case '/healthz':
        return answer(200, '{"status":"ok"}')
      case '/readyz': {
        const reasons = options.notReady()
        const status = reasons.length === 0 ? 'ready' : 'not ready'
        return answer(
          reasons.length === 0 ? 200 : 503,
          JSON.stringify({ status, reasons, ...options.facts?.() }),
        )
      }
      case '/metrics':
        options.collect?.()
        options.registry.metrics().then(
          (text) => answer(200, text, options.registry.contentType),
          (error: unknown) => answer(500, JSON.stringify({ error: describeError(error) })),
        )
        return
      default:
        return answer(404, '{"error":"/healthz, /readyz or /metrics"}')
    }
  }
  const { host, port } = config.http
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      const hint =
        errorCode(error) === 'EADDRINUSE'
          ? 'another process has this port; set HTTP_PORT'
          : 'check HTTP_HOST and HTTP_PORT'
      reject(new FatalError(`listen on ${host}:${port}`, hint, { cause: error }))
    })
    server.listen(port, host, resolve)
  })
  const actual = (server.address() as AddressInfo).port
  log.debug('health endpoints are up', { host, port: actual })
  return {
    port: actual,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
