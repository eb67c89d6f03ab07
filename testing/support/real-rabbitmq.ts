// A real RabbitMQ of a test's own: own folder, cookie, epmd and free ports on 127.0.0.1, gone afterwards.
import { connect } from 'amqplib'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { request } from 'undici'
import type { Config } from '../../services/shared/config-schema.ts'
import { topology } from '../../services/shared/topology.ts'
import { eventually } from './eventually.ts'
import { freePort } from './real-clamd.ts'

const folders = ['/usr/lib/rabbitmq/bin', '/usr/local/sbin', '/opt/rabbitmq/sbin']
// The server's own script: Debian's wrapper on PATH switches to another user.
const program = folders
  .map((folder) => join(folder, 'rabbitmq-server'))
  .find((path) => existsSync(path))

/** Why tests with a real broker cannot run, or undefined. */
export const noRabbitmq = program === undefined ? 'rabbitmq-server is not installed' : undefined

export interface RealRabbitmq {
  host: '127.0.0.1'
  /** AMQP without TLS. */
  port: number
  /** Management API without TLS. */
  managementPort: number
  /** An administrator. */
  user: string
  password: string
  /** A new virtual host in which the administrator may do everything. */
  createVhost(name: string): Promise<void>
  /** The management API: `api('GET', '/api/queues')`. */
  api(method: string, path: string, body?: unknown): Promise<unknown>
  /** As kill -9. Of queues that are younger than a second: only after `keepQueues`. */
  kill(): Promise<void>
  /** See `writeRaftTerms`. */
  keepQueues(): Promise<void>
  /** After `kill`, on the same ports and data. */
  start(): Promise<void>
  close(): Promise<void>
}

/**
 * Writes what RabbitMQ 3.10 keeps of a new quorum queue in memory for up to a second (its Raft term and directory): a queue of
 * a broker that was killed before has no leader ever after.
 * @param scripts the folder of rabbitmqctl
 */
export async function writeRaftTerms(scripts: string, env: NodeJS.ProcessEnv): Promise<void> {
  const sync = ['eval', '[ok = dets:sync(Table) || Table <- dets:all()].']
  await promisify(execFile)(join(scripts, 'rabbitmqctl'), sync, { env })
}

/** A broker that takes connections; that takes some seconds. Close it. */
export async function startRabbitmq(): Promise<RealRabbitmq> {
  if (program === undefined) throw new Error(noRabbitmq)
  const folder = await mkdtemp(join(tmpdir(), 'test-rabbitmq-'))
  const [port, managementPort, epmdPort, erlangPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ]
  const user = 'admin'
  const password = 'only-for-tests'
  await writeFile(
    join(folder, 'rabbitmq.conf'),
    [
      `listeners.tcp.default = 127.0.0.1:${port}`,
      'management.tcp.ip = 127.0.0.1',
      `management.tcp.port = ${managementPort}`,
      `default_user = ${user}`,
      `default_pass = ${password}`,
      'default_user_tags.administrator = true',
      'log.console = false',
      `log.file = ${join(folder, 'broker.log')}`,
      'disk_free_limit.absolute = 50MB',
      '',
    ].join('\n'),
  )
  await writeFile(join(folder, 'enabled_plugins'), '[rabbitmq_management].\n')
  const env = {
    PATH: process.env['PATH'],
    HOME: folder,
    LANG: 'C.UTF-8',
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `${basename(folder)}@localhost`,
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none'),
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'none'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: folder,
    RABBITMQ_PID_FILE: join(folder, 'pid'),
    RABBITMQ_FEATURE_FLAGS_FILE: join(folder, 'feature_flags'),
    RABBITMQ_DIST_PORT: String(erlangPort),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    // Makes the script become the broker, so that a signal reaches it.
    RUNNING_UNDER_SYSTEMD: 'true',
  }
  // Ours and in the foreground; the one that Erlang starts by itself would outlive the broker.
  const epmd = spawn('epmd', ['-address', '127.0.0.1', '-port', String(epmdPort)], {
    env,
    stdio: 'ignore',
  })
  const run = () => spawn(program, [], { env, stdio: 'ignore' })
  let child = run()

  const isReady = async () => {
    try {
      await eventually(
        async () => {
          if (child.exitCode !== null) throw new Error('rabbitmq-server has exited')
          const connection = await connect({
            hostname: '127.0.0.1',
            port,
            username: user,
            password,
          })
          await connection.close()
          await broker.api('GET', '/api/overview')
        },
        { timeoutMs: 90_000, everyMs: 200 },
      )
    } catch (error) {
      const log = await readFile(join(folder, 'broker.log'), 'utf8').catch(() => '(no log)')
      throw new Error(`start rabbitmq: ${log.slice(-4000)}`, { cause: error })
    }
  }
  const broker: RealRabbitmq = {
    host: '127.0.0.1',
    port,
    managementPort,
    user,
    password,
    async api(method, path, body) {
      const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
      const answer = await request(`http://127.0.0.1:${managementPort}${path}`, {
        method,
        headers: { authorization, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await answer.body.text()
      if (answer.statusCode >= 300)
        throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`)
      return text === '' ? undefined : (JSON.parse(text) as unknown)
    },
    async createVhost(name) {
      const vhost = encodeURIComponent(name)
      await broker.api('PUT', `/api/vhosts/${vhost}`)
      const everything = { configure: '.*', write: '.*', read: '.*' }
      await broker.api('PUT', `/api/permissions/${vhost}/${user}`, everything)
    },
    kill: () => end(child),
    keepQueues: () => writeRaftTerms(dirname(program), env),
    async start() {
      child = run()
      await isReady()
    },
    async close() {
      process.off('exit', killNow)
      await end(child)
      await end(epmd)
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
  const killNow = () => {
    child.kill('SIGKILL')
    epmd.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  // A test run that dies must not leave it behind.
  process.on('exit', killNow)
  try {
    await isReady()
  } catch (error) {
    await broker.close()
    throw error
  }
  return broker
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/**
 * Everything of `topology(config)`, declared with the rights that `config` has. A broker that has just come back closes the
 * connection with INTERNAL_ERROR (541) while its quorum queues are still on their way, so this is tried again.
 */
export async function declareTopology(broker: RealRabbitmq, config: Config): Promise<void> {
  const { host: hostname, port, user: username, password } = broker
  const wanted = topology(config)
  const declare = async () => {
    const { vhost } = config.broker
    const connection = await connect({ hostname, port, username, password, vhost })
    connection.on('error', () => {})
    try {
      const channel = await connection.createChannel()
      channel.on('error', () => {})
      for (const { name, type } of wanted.exchanges) await channel.assertExchange(name, type)
      for (const queue of wanted.queues)
        await channel.assertQueue(queue.name, { durable: true, arguments: queue.arguments })
      for (const { queue, exchange, key } of wanted.bindings)
        await channel.bindQueue(queue, exchange, key)
    } finally {
      await connection.close().catch(() => {})
    }
  }
  await eventually(declare, { timeoutMs: 30_000 })
}
