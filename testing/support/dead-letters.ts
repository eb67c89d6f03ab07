// avscan.dead on a virtual host of its own, as `init broker` makes it, the reconciler's commands as child processes with the
// reconciler's own rights, and what a test puts into the queue and finds in others.
import { connect, type ChannelModel, type ConfirmChannel } from 'amqplib'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { names } from '../../services/shared/topology.ts'
import { eventually } from './eventually.ts'
import { runInit } from './run-init.ts'
import type { TlsRabbitmq } from './tls-rabbitmq.ts'

const command = resolve(import.meta.dirname, '../../services/reconciler/command.ts')
const secret = (name: string) => `${name}0123456789abcdef0123456789abcdef`

export interface CommandRun {
  code: number | null
  stdout: string
  stderr: string
}

export interface Found {
  id: unknown
  type: unknown
  body: string
  headers: Record<string, unknown>
}

export interface DeadLetters {
  readonly vhost: string
  readonly env: Record<string, string>
  /** A channel of the administrator's; a new one when the last was lost. */
  channel(): Promise<ConfirmChannel>
  /** `count` letters for `origin` with the ids `<prefix>0`, …; headers and key may depend on the index. */
  put(count: number, options?: PutOptions): Promise<void>
  /** Runs command.ts to its end. */
  run(...args: string[]): Promise<CommandRun>
  spawn(...args: string[]): { child: ChildProcess; ended: Promise<CommandRun> }
  count(queue: string): Promise<number>
  /** Takes everything out of a queue, in its order. */
  take(queue: string): Promise<Found[]>
  close(): Promise<void>
}

export interface PutOptions {
  prefix?: string
  origin?: string
  headers?: Record<string, unknown>
  key?: (index: number) => string
  bucket?: string
}

export async function openDeadLetters(
  broker: TlsRabbitmq,
  settings: Record<string, string> = {},
): Promise<DeadLetters> {
  const vhost = await broker.addVhost()
  const env: Record<string, string> = {
    ...broker.env({ vhost }),
    RABBITMQ_DEFAULT_USER: broker.adminUser,
    RABBITMQ_DEFAULT_PASS: broker.adminPassword,
    RABBITMQ_REGULAR_USER_NAME: `${vhost}-store`,
    RABBITMQ_REGULAR_USER_PASS: secret('store'),
    INIT_TIMEOUT: '20',
  }
  for (const name of ['avscan', 'notifier', 'reconciler', 'store-audit']) {
    const variable = name.toUpperCase().replace('-', '_')
    env[`${variable}_BROKER_USER`] = `${vhost}-${name}`
    env[`${variable}_BROKER_PASSWORD`] = secret(name)
  }
  const init = await runInit(['broker'], env)
  if (init.code !== 0) throw new Error(`init broker: ${init.stdout}`)
  let model: ChannelModel | undefined
  let open: ConfirmChannel | undefined
  const children = new Set<ChildProcess>()

  const letters: DeadLetters = {
    vhost,
    env: { ...env, ...settings },
    async channel() {
      if (open !== undefined) return open
      const { port, adminUser: username, adminPassword: password } = broker
      const where = { protocol: 'amqps', hostname: '127.0.0.1', port, vhost, username, password }
      model = await connect(where, { ca: [readFileSync(broker.certs.ca)] })
      model.on('error', () => {})
      const channel = await model.createConfirmChannel()
      channel.on('error', () => {})
      channel.on('close', () => (open = undefined))
      model.on('close', () => (open = undefined))
      open = channel
      return channel
    },
    async put(count, options = {}) {
      const { prefix = 'm', origin = 's3minioqueue', headers = {}, bucket = 'b' } = options
      const { key = (index) => `k/${index}` } = options
      const channel = await letters.channel()
      for (let index = 0; index < count; index++) {
        const job = { objects: [{ bucket, key: key(index) }], trigger: { kind: 'sweep', id: 's' } }
        channel.publish(names.jobs, names.dead, Buffer.from(JSON.stringify(job)), {
          persistent: true,
          messageId: `${prefix}${index}`,
          type: 'test',
          timestamp: Math.floor(Date.now() / 1000) - 60,
          headers: {
            'avscan-origin': origin,
            'avscan-reason': 'Error',
            'avscan-attempts': 5,
            'avscan-attempt': 5,
            'avscan-outages': 3,
            'avscan-error': 'scan: broken',
            ...headers,
          },
        })
      }
      await channel.waitForConfirms()
    },
    run: (...args) => letters.spawn(...args).ended,
    spawn(...args) {
      const child = spawn(process.execPath, [command, ...args], {
        env: { PATH: process.env['PATH'] ?? '', ...letters.env },
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: 200_000,
        killSignal: 'SIGKILL',
      })
      children.add(child)
      const run = { stdout: '', stderr: '' }
      child.stdout.on('data', (chunk: Buffer) => (run.stdout += chunk.toString()))
      child.stderr.on('data', (chunk: Buffer) => (run.stderr += chunk.toString()))
      const ended = once(child, 'close').then(([code]) => {
        children.delete(child)
        return { code: code as number | null, ...run }
      })
      return { child, ended }
    },
    async count(queue) {
      return (await (await letters.channel()).checkQueue(queue)).messageCount
    },
    async take(queue) {
      const channel = await letters.channel()
      const { messageCount } = await channel.checkQueue(queue)
      const found: Found[] = []
      // basic.get would take a write to the broker's log for each.
      const { consumerTag } = await channel.consume(
        queue,
        (message) => {
          if (message === null) return
          const { messageId, type, headers = {} } = message.properties
          found.push({ id: messageId, type, body: message.content.toString(), headers })
        },
        { noAck: true },
      )
      await eventually(() => found.length >= messageCount, { timeoutMs: 60_000 })
      await channel.cancel(consumerTag)
      return found
    },
    async close() {
      for (const child of children) child.kill('SIGKILL')
      await model?.close().catch(() => {})
      await broker.api('DELETE', `/vhosts/${vhost}`)
    },
  }
  return letters
}
