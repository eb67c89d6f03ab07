// One lane on a virtual host of its own of a real broker: what a test publishes to it, counts in it and finds in avscan.dead.
import { connect, type ChannelModel, type ConfirmChannel } from 'amqplib'
import { inspect } from 'node:util'
import { connectPublisher, type Publisher } from '../../services/shared/broker.ts'
import type { Config } from '../../services/shared/config-schema.ts'
import { loadConfig } from '../../services/shared/config.ts'
import {
  startConsumer,
  type Consumer,
  type Delivery,
  type Lane,
} from '../../services/shared/consumer.ts'
import { silentLog } from '../../services/shared/log.ts'
import { jobRetryDelaysMs, names } from '../../services/shared/topology.ts'
import { eventually } from './eventually.ts'
import { declareTopology, type RealRabbitmq } from './real-rabbitmq.ts'
import { recordingLog } from './recording-log.ts'

/** Delays of 5, 50, 300 and 3000 ms. */
const scale = '0.005'

export interface TestLane {
  readonly config: Readonly<Config>
  readonly queue: string
  readonly publisher: Publisher
  readonly consumer: Consumer
  readonly channel: ConfirmChannel
  readonly vhost: string
  /** @param instead another way to the same broker */
  begin(lane: Partial<Lane> & Pick<Lane, 'handle'>, instead?: Config): Promise<Consumer>
  put(body: string, headers?: Record<string, unknown>): Promise<void>
  /** Next dead letter, waited for. */
  dead(): Promise<{ body: string; headers: Record<string, unknown>; messageId: unknown }>
  /** Messages in the lane and on its ladder, those being delivered included, as the broker counts now. */
  depth(queue?: string): Promise<number>
  close(): Promise<void>
}

let counter = 0

export function laneConfig(broker: RealRabbitmq, env: Record<string, string> = {}) {
  return loadConfig({
    service: 'avscan',
    env: {
      RABBITMQ_ENDPOINT: broker.host,
      RABBITMQ_PORT: String(broker.port),
      RABBITMQ_TLS: 'false',
      AVSCAN_BROKER_USER: broker.user,
      AVSCAN_BROKER_PASSWORD: broker.password,
      RETRY_SCALE: scale,
      ...env,
    },
  })
}

export async function openLane(broker: RealRabbitmq): Promise<TestLane> {
  const vhost = `lane-${process.pid}-${++counter}`
  await broker.createVhost(vhost)
  const config = laneConfig(broker, { RABBITMQ_VHOST: vhost })
  await declareTopology(broker, config)
  const { queue } = config.broker
  const publisher = await connectPublisher(config, silentLog)
  const { host: hostname, port, user: username, password } = broker
  let admin: ChannelModel | undefined
  let channel: ConfirmChannel | undefined
  let consumer: Consumer | undefined
  const open = async () => {
    admin = await connect({ hostname, port, username, password, vhost })
    admin.on('error', () => {})
    admin.on('close', () => (channel = undefined))
    channel = await admin.createConfirmChannel()
    channel.on('error', () => {})
    return channel
  }
  const opened = async () => channel ?? (await open())
  await open()
  return {
    config,
    queue,
    publisher,
    vhost,
    get channel() {
      if (channel === undefined) throw new Error('the connection of the test is lost')
      return channel
    },
    get consumer() {
      if (consumer === undefined) throw new Error('begin first')
      return consumer
    },
    async begin(lane, instead = config) {
      const log = recordingLog()
      const signal = AbortSignal.timeout(40_000)
      try {
        consumer = await startConsumer(
          instead,
          [{ queue, prefetch: 1, retryDelaysMs: jobRetryDelaysMs, ...lane }],
          publisher,
          log,
          signal,
        )
      } catch (error) {
        if (!signal.aborted) throw error
        const said = log.lines.map(({ message, fields }) => `${message} ${inspect(fields)}`)
        throw new Error(`the lane does not begin: ${said.join('\n')}`, { cause: error })
      }
      return consumer
    },
    async put(body, headers = {}) {
      const on = await opened()
      on.publish(names.jobs, queue, Buffer.from(body), {
        persistent: true,
        messageId: `id-${body}`,
        type: 'test',
        headers,
      })
      await on.waitForConfirms()
    },
    dead: () =>
      eventually(async () => {
        const message = await (await opened()).get(names.dead, { noAck: true })
        if (message === false) throw new Error('avscan.dead is empty')
        const { headers = {}, messageId } = message.properties
        return { body: message.content.toString(), headers, messageId: messageId as unknown }
      }),
    async depth(name = queue) {
      // Publishing statistics lag; the count asked of the queue itself by a passive declare leaves out what is delivered.
      const path = `/api/queues/${encodeURIComponent(vhost)}/${encodeURIComponent(name)}`
      const answer = (await broker.api('GET', `${path}?disable_stats=false`)) as {
        messages?: number
      }
      return answer.messages ?? 0
    },
    async close() {
      await consumer?.stop(0)
      await publisher.close()
      await admin?.close().catch(() => {})
      await broker.api('DELETE', `/api/vhosts/${encodeURIComponent(vhost)}`)
    },
  }
}

/** A handler that records what it got and ends as `ending` says, the last one again and again. */
export function recording(...endings: (Error | undefined)[]) {
  const seen: Delivery[] = []
  return {
    seen,
    bodies: () => seen.map(({ body }) => body.toString()),
    attempts: () => seen.map(({ attempt }) => attempt),
    handle(delivery: Delivery): Promise<void> {
      const ending = endings[Math.min(seen.length, endings.length - 1)]
      seen.push(delivery)
      return ending === undefined ? Promise.resolve() : Promise.reject(ending)
    },
  }
}

/** A promise to be settled from outside. */
export function gate(): { opened: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: () => resolve() }
}
