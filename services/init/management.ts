// RabbitMQ's management API over TLS with our CA, with its refusals in our words.
import { Agent, request } from 'undici'
import type { Config } from '../shared/config-schema.ts'
import { FatalError } from '../shared/errors.ts'
import { trustedCas } from '../shared/trust.ts'
import type { Identity } from './identities.ts'

export interface Management {
  readonly where: string
  /** Parsed JSON, undefined for 404. */
  get(path: string): Promise<unknown>
  put(path: string, body: unknown): Promise<void>
  post(path: string, body: unknown): Promise<void>
  delete(path: string): Promise<void>
  close(): Promise<void>
}

const requestTimeoutMs = 10_000

export function openManagement(config: Config, admin: Identity): Management {
  const { host, port, managementPort, tls = port !== 5672 } = config.broker
  const where = `broker ${host}:${managementPort} (management API)`
  const origin = `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${managementPort}`
  const ca = tls ? trustedCas(config.tls.ca) : undefined
  const agent = new Agent({
    headersTimeout: requestTimeoutMs,
    bodyTimeout: requestTimeoutMs,
    connect: { timeout: requestTimeoutMs, ...(ca === undefined ? {} : { ca }) },
  })
  const authorization = `Basic ${Buffer.from(`${admin.name}:${admin.password}`).toString('base64')}`

  async function call(
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    path: string,
    body?: unknown,
  ): Promise<unknown> {
    const answer = await request(`${origin}/api${path}`, {
      method,
      dispatcher: agent,
      headers: { authorization, 'content-type': 'application/json' },
      body: body === undefined ? null : JSON.stringify(body),
    })
    const text = await answer.body.text()
    const { statusCode } = answer
    if (statusCode === 401)
      throw new FatalError(
        `${where} refuses the user "${admin.name}"`,
        'RABBITMQ_DEFAULT_USER and RABBITMQ_DEFAULT_PASS must be those with which its data folder was first started',
      )
    if (statusCode === 403)
      throw new FatalError(
        `${where} forbids "${admin.name}" to ${method} ${path}`,
        'init needs an administrator; `init broker --print` shows what one has to set up',
      )
    if (statusCode === 404 && method === 'GET') return undefined
    if (statusCode >= 500) throw new Error(`${where}: ${statusCode} ${reasonIn(text)}`)
    if (statusCode >= 400)
      throw new FatalError(
        `${where}: ${method} ${path}: ${statusCode} ${reasonIn(text)}`,
        'is this RabbitMQ 3.10 or newer with the management plugin?',
      )
    try {
      return text === '' ? undefined : JSON.parse(text)
    } catch (error) {
      throw new FatalError(
        `${where} does not answer in JSON`,
        'RABBITMQ_PORT_MANAGEMENT must be the port of the management plugin',
        { cause: error },
      )
    }
  }
  return {
    where,
    get: (path) => call('GET', path),
    put: async (path, body) => void (await call('PUT', path, body)),
    post: async (path, body) => void (await call('POST', path, body)),
    delete: async (path) => void (await call('DELETE', path)),
    close: () => agent.close(),
  }
}

function reasonIn(text: string): string {
  try {
    const { reason, error } = JSON.parse(text) as { reason?: unknown; error?: unknown }
    const said = reason ?? error
    return (typeof said === 'string' ? said : text).slice(0, 300)
  } catch {
    return text.slice(0, 300)
  }
}
