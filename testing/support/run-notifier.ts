// The real notifier as a child process on a virtual host of its own, and what a test does with it from outside.
import { connect, type Channel } from 'amqplib'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import { connectPublisher } from '../../services/shared/broker.ts'
import { allEndpoints } from '../../services/shared/config-schema.ts'
import { loadConfig } from '../../services/shared/config.ts'
import { silentLog } from '../../services/shared/log.ts'
import { names, notifyQueue } from '../../services/shared/topology.ts'
import { eventually } from './eventually.ts'
import { declareTopology, type RealRabbitmq } from './real-rabbitmq.ts'

export interface DeadLetter {
  body: string
  messageId: string
  headers: Record<string, unknown>
}

export interface RunningNotifier {
  /** stdout and stderr so far, of all its lives. */
  readonly output: string
  start(): Promise<void>
  /** Sends the signal and waits for the end; the exit code, or null when the signal ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
  publish(message: { type: string } | Buffer, messageId?: string): Promise<void>
  /** Path of its health port: /readyz, /metrics. */
  get(path: string): Promise<{ status: number; text: string }>
  /** Takes one message off avscan.dead; undefined when there is none. */
  dead(): Promise<DeadLetter | undefined>
  /** Messages that wait in a queue; not those that the notifier holds. */
  waiting(queue: string): Promise<number>
  /** Resolves when the queue is empty and the notifier holds nothing of it. */
  drained(queue: string): Promise<void>
  close(): Promise<void>
}

const main = new URL('../../services/notifier/main.ts', import.meta.url).pathname
let counter = 0

/** The environment in which the notifier finds `broker`. */
export function notifierEnv(broker: RealRabbitmq, vhost: string): Record<string, string> {
  return {
    RABBITMQ_ENDPOINT: broker.host,
    RABBITMQ_PORT: String(broker.port),
    RABBITMQ_TLS: 'false',
    RABBITMQ_VHOST: vhost,
    NOTIFIER_BROKER_USER: broker.user,
    NOTIFIER_BROKER_PASSWORD: broker.password,
    HTTP_PORT: '0',
  }
}

/** Runs main.ts to its end: exit code and everything it said. */
export async function runNotifierToEnd(env: Record<string, string>, ...args: string[]) {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, ...env },
    timeout: 30_000,
    killSignal: 'SIGKILL',
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, output }
}

/** A notifier that is ready. `yaml` is its configuration file, `env` what a test changes. Close it. */
export async function startNotifier(
  broker: RealRabbitmq,
  env: Record<string, string>,
  yaml = '{}',
): Promise<RunningNotifier> {
  const vhost = `notifier-${process.pid}-${++counter}`
  const folder = await mkdtemp(join(tmpdir(), 'test-notifier-'))
  const file = join(folder, 'av-scan.yaml')
  await writeFile(file, yaml)
  const all = { ...notifierEnv(broker, vhost), AV_CONFIG: file, ...env }
  const config = loadConfig({ service: 'notifier', env: all })
  await broker.createVhost(vhost)
  await declareTopology(broker, config)
  const publisher = await connectPublisher(config, silentLog)
  // A connection for each question: the broker may have been killed since the last one.
  const ask = async <T>(question: (channel: Channel) => Promise<T>): Promise<T> => {
    const { host: hostname, port, user: username, password } = broker
    const admin = await connect({ hostname, port, username, password, vhost })
    try {
      return await question(await admin.createChannel())
    } finally {
      await admin.close()
    }
  }
  let output = ''
  let child: ReturnType<typeof spawn> | undefined
  let health = 0

  const notifier: RunningNotifier = {
    get output() {
      return output
    },
    async start() {
      const begun = output.length
      const started = spawn(process.execPath, [main], {
        env: { ...process.env, ...all },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      child = started
      // A test run that dies must not leave it behind.
      const killNow = () => started.kill('SIGKILL')
      process.on('exit', killNow)
      started.once('exit', () => process.off('exit', killNow))
      for (const stream of [started.stdout, started.stderr])
        stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
      health = await eventually(
        () => {
          if (started.exitCode !== null) throw new Error(`the notifier has exited: ${output}`)
          const ready = /"healthPort":(\d+)/.exec(output.slice(begun))
          if (ready === null) throw new Error(`the notifier is not ready: ${output}`)
          return Number(ready[1])
        },
        { timeoutMs: 20_000 },
      )
    },
    async stop(signal = 'SIGTERM') {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return null
      const gone = once(child, 'close') as Promise<[number | null]>
      child.kill(signal)
      return (await gone)[0]
    },
    publish: (message, messageId) => {
      const body = Buffer.isBuffer(message) ? message : Buffer.from(JSON.stringify(message))
      const routingKey = 'verdict.any.storagebucket'
      const alsoTo = allEndpoints(config).map(({ name }) => notifyQueue(name))
      return publisher.publish({ exchange: names.verdicts, routingKey, alsoTo, body, messageId })
    },
    async get(path) {
      const answer = await request(`http://127.0.0.1:${health}${path}`)
      return { status: answer.statusCode, text: await answer.body.text() }
    },
    dead: () =>
      ask(async (channel) => {
        const message = await channel.get(names.dead, { noAck: true })
        if (message === false) return undefined
        return {
          body: message.content.toString(),
          messageId: String(message.properties.messageId),
          headers: message.properties.headers ?? {},
        }
      }),
    waiting: (queue) => ask(async (channel) => (await channel.checkQueue(queue)).messageCount),
    drained: (queue) =>
      eventually(async () => {
        if ((await notifier.waiting(queue)) > 0) throw new Error(`${queue} is not empty`)
        const { lanes } = JSON.parse((await notifier.get('/readyz')).text) as {
          lanes: { queue: string; running: number }[]
        }
        if (lanes.some((lane) => lane.queue === queue && lane.running > 0))
          throw new Error(`the notifier holds messages of ${queue}`)
      }),
    async close() {
      await notifier.stop('SIGKILL')
      await publisher.close()
      await broker.api('DELETE', `/api/vhosts/${encodeURIComponent(vhost)}`)
      await rm(folder, { recursive: true, force: true })
    },
  }
  await notifier.start()
  return notifier
}
