// The broker from an administrator's chair: exact counts of ready messages over AMQP, purging, publishing, and the management API
// for what AMQP does not tell (its counts are up to five seconds old).
import { connect, type ChannelModel, type ConfirmChannel } from 'amqplib'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'undici'
import type { Config } from '../../services/shared/config-schema.ts'
import { names, topology } from '../../services/shared/topology.ts'

export interface BrokerAccess {
  amqpPort: number
  managementUrl: string
  caFile: string
  vhost: string
  user: string
  password: string
}

export interface DeadMessage {
  body: string
  bytes: Buffer
  origin: string
  reason: string
}

export type BrokerControl = ReturnType<typeof createBrokerControl>

export function createBrokerControl(config: Config, access: BrokerAccess) {
  const ca = readFileSync(access.caFile, 'utf8')
  const agent = new Agent({ connect: { ca }, headersTimeout: 10_000, bodyTimeout: 20_000 })
  const queues = topology(config).queues.map(({ name }) => name)
  let model: Promise<ChannelModel> | undefined

  const connection = async (): Promise<ChannelModel> => {
    if (model !== undefined) return model
    model = connect(
      {
        protocol: 'amqps',
        hostname: '127.0.0.1',
        port: access.amqpPort,
        vhost: access.vhost,
        username: access.user,
        password: access.password,
      },
      { ca, timeout: 5000, servername: '' },
    )
    try {
      const opened = await model
      opened.on('error', () => {})
      opened.once('close', () => (model = undefined))
      return opened
    } catch (error) {
      model = undefined
      throw error
    }
  }

  const withChannel = async <T>(work: (channel: ConfirmChannel) => Promise<T>): Promise<T> => {
    const opened = await connection()
    const channel = await opened.createConfirmChannel()
    channel.on('error', () => {})
    // A hung broker answers nothing, not even an error.
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      model = undefined
      opened.close().catch(() => {})
      late.reject(new Error('the broker does not answer'))
    }, 60_000)
    try {
      return await Promise.race([work(channel), late.promise])
    } finally {
      clearTimeout(timer)
      await channel.close().catch(() => {})
    }
  }

  async function api(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) {
    const answer = await request(`${access.managementUrl}/api/${path}`, {
      method,
      dispatcher: agent,
      headers: {
        authorization: `Basic ${Buffer.from(`${access.user}:${access.password}`).toString('base64')}`,
        'content-type': 'application/json',
      },
      body: body === undefined ? null : JSON.stringify(body),
    })
    const text = await answer.body.text()
    if (answer.statusCode >= 400)
      throw new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 200)}`)
    return text === '' ? undefined : (JSON.parse(text) as unknown)
  }

  const vhost = encodeURIComponent(access.vhost)

  return {
    config,
    queues,
    api,
    /** Below this path of the API are the queues: `api('DELETE', \`${queuePath('x')}/contents\`)`. */
    queuePath: (queue: string) => `queues/${vhost}/${encodeURIComponent(queue)}`,
    /** Ready messages of each queue, this moment. @throws Error while the broker is away. */
    ready: (): Promise<Map<string, number>> =>
      withChannel(async (channel) => {
        const counts = new Map<string, number>()
        for (const name of queues) counts.set(name, (await channel.checkQueue(name)).messageCount)
        return counts
      }),
    /** Removes what is ready and returns how many it were; what a consumer holds stays. */
    purge: (queue: string): Promise<number> =>
      withChannel(async (channel) => (await channel.purgeQueue(queue)).messageCount),
    /** Returns when all of them are confirmed. */
    publish: (
      exchange: string,
      routingKey: string,
      bodies: readonly (Buffer | string | object)[],
    ): Promise<void> =>
      withChannel(async (channel) => {
        for (const [index, body] of bodies.entries()) {
          const bytes = Buffer.isBuffer(body)
            ? body
            : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
          channel.publish(exchange, routingKey, bytes, { persistent: true, mandatory: true })
          if (index % 1000 === 999) await channel.waitForConfirms()
        }
        await channel.waitForConfirms()
      }),
    /** All messages, those in work and those on their way to another queue included; up to five seconds old. */
    async all(): Promise<Map<string, number>> {
      const found = (await api('GET', `queues/${vhost}?disable_stats=false`)) as {
        name: string
        messages?: number
        messages_dlx?: number
      }[]
      return new Map(found.map((queue) => [queue.name, queue.messages ?? 0]))
    },
    /** Takes what is ready in a queue out of it. */
    take: (queue: string): Promise<Buffer[]> =>
      withChannel(async (channel) => {
        const bodies: Buffer[] = []
        for (;;) {
          const message = await channel.get(queue, { noAck: true })
          if (message === false) return bodies
          bodies.push(message.content)
        }
      }),
    /** What is in avscan.dead, taken out of it. */
    takeDead: (): Promise<DeadMessage[]> =>
      withChannel(async (channel) => {
        const taken: DeadMessage[] = []
        for (;;) {
          const message = await channel.get(names.dead, { noAck: true })
          if (message === false) return taken
          const headers = message.properties.headers ?? {}
          taken.push({
            body: message.content.toString(),
            bytes: message.content,
            origin: String(headers['avscan-origin'] ?? headers['x-first-death-queue'] ?? ''),
            reason: `${String(headers['avscan-reason'] ?? headers['x-first-death-reason'] ?? '')} ${String(headers['avscan-error'] ?? '')}`,
          })
        }
      }),
    async close() {
      await (await model?.catch(() => undefined))?.close().catch(() => {})
      await agent.close()
    },
  }
}
