// A real RabbitMQ as it is deployed: TLS only (amqps and management) with a certificate of our own CA. Own node, epmd, cookie,
// data and free ports on 127.0.0.1; ready in about 8 s; it ends with the test process, no `after` needed.
//
//   const broker = await startTlsRabbitmq()            // one per test process
//   const vhost = await broker.addVhost()              // one per suite keeps suites apart
//   const env = broker.env({ vhost })                  // settings of a service: RABBITMQ_*, TLS_CA
//   const config = loadConfig({ service: 'avscan', env: { ...env, ...broker.identity('AVSCAN') } })
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Agent, request } from 'undici'
import { eventually } from './eventually.ts'
import { testCerts, type TestCerts } from './test-certs.ts'
import { writeRaftTerms } from './real-rabbitmq.ts'
import { freePorts, startProcess, testFolder, type TestProcess } from './test-process.ts'

const scripts = ['/usr/lib/rabbitmq/bin', '/opt/rabbitmq/sbin'].find((path) =>
  existsSync(join(path, 'rabbitmq-server')),
)

/** Why tests with a real broker cannot run, or undefined. */
export const noTlsRabbitmq = scripts === undefined ? 'rabbitmq-server is not installed' : undefined

export interface TlsRabbitmq {
  readonly port: number
  readonly managementPort: number
  readonly adminUser: string
  readonly adminPassword: string
  readonly certs: TestCerts
  /** Settings by which our services and init reach it; add an identity. */
  env(options?: { vhost?: string }): Record<string, string>
  /** `AVSCAN` → AVSCAN_BROKER_USER and _PASSWORD of the administrator (tests that are not about rights). */
  identity(service: string): Record<string, string>
  /** The management API as administrator; `path` is without /api. Throws on 4xx and 5xx. */
  api(method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<unknown>
  /** A new empty vhost with all rights for the administrator; returns its name. */
  addVhost(): Promise<string>
  ctl(...args: string[]): Promise<string>
  /** As kill -9. Of queues that are younger than a second: only after `keepQueues`. */
  kill(): Promise<void>
  /** See `writeRaftTerms`. */
  keepQueues(): Promise<void>
  /** After `kill`, on the same ports with the same data. */
  start(): Promise<void>
}

let shared: Promise<TlsRabbitmq> | undefined

/** The broker of this test process. */
export function startTlsRabbitmq(): Promise<TlsRabbitmq> {
  shared ??= startOwnTlsRabbitmq()
  return shared
}

/** One that the caller may kill. */
export async function startOwnTlsRabbitmq(): Promise<TlsRabbitmq> {
  if (scripts === undefined) throw new Error(noTlsRabbitmq)
  const certs = await testCerts()
  const folder = testFolder('rabbitmq')
  const [port = 0, managementPort = 0, epmd = 0, erlang = 0] = await freePorts(4)
  const adminUser = 'rabbitadmin'
  const adminPassword = randomBytes(20).toString('hex')
  const { certificate, key } = certs.server('broker')
  const tls = (prefix: string) => [
    `${prefix}.cacertfile = ${certs.ca}`,
    `${prefix}.certfile = ${certificate}`,
    `${prefix}.keyfile = ${key}`,
  ]
  const conf = [
    'listeners.tcp = none',
    `listeners.ssl.default = 127.0.0.1:${port}`,
    ...tls('ssl_options'),
    'ssl_options.verify = verify_none',
    'management.ssl.ip = 127.0.0.1',
    `management.ssl.port = ${managementPort}`,
    ...tls('management.ssl'),
    `default_user = ${adminUser}`,
    `default_pass = ${adminPassword}`,
    'log.console = true',
    'log.file = false',
    'disk_free_limit.absolute = 50MB',
    '',
  ]
  writeFileSync(join(folder, 'rabbitmq.conf'), conf.join('\n'), { mode: 0o600 })
  writeFileSync(join(folder, 'enabled_plugins'), '[rabbitmq_management].\n')
  mkdirSync(join(folder, 'data'))
  const env = {
    HOME: folder,
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `test${process.pid}x${port}@localhost`,
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none'),
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'none'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_PID_FILE: join(folder, 'pid'),
    RABBITMQ_FEATURE_FLAGS_FILE: join(folder, 'feature_flags'),
    RABBITMQ_DIST_PORT: String(erlang),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    // Makes the script become the broker instead of waiting for it.
    RUNNING_UNDER_SYSTEMD: 'true',
  }
  // In the foreground and ours; the one that Erlang starts by itself would outlive the test.
  const daemon = ['epmd', '-address', '127.0.0.1', '-port', String(epmd)]
  startProcess({ command: daemon, folder, name: 'epmd', env })
  let child: TestProcess | undefined
  const agent = new Agent({ connect: { ca: readFileSync(certs.ca, 'utf8') } })
  const authorization = `Basic ${Buffer.from(`${adminUser}:${adminPassword}`).toString('base64')}`

  const api: TlsRabbitmq['api'] = async (method, path, body) => {
    const answer = await request(`https://127.0.0.1:${managementPort}/api${path}`, {
      method,
      dispatcher: agent,
      headers: { authorization, 'content-type': 'application/json' },
      body: body === undefined ? null : JSON.stringify(body),
    })
    const text = await answer.body.text()
    if (answer.statusCode >= 400)
      throw new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 300)}`)
    return text === '' ? undefined : JSON.parse(text)
  }
  const start = async () => {
    const command = [join(scripts, 'rabbitmq-server')]
    const started = startProcess({ command, folder, name: 'rabbitmq', env })
    child = started
    await eventually(
      async () => {
        if (!started.running) return true
        await api('GET', '/overview')
        // Management answers before the listeners do.
        return /completed with \d+ plugins|Server startup complete/.test(started.log())
      },
      { timeoutMs: 90_000, everyMs: 200 },
    )
    if (!started.running) throw new Error(`RabbitMQ ended:\n${started.log().slice(-2000)}`)
  }
  const toolEnv = { PATH: process.env['PATH'] ?? '', LANG: 'C.UTF-8', ...env }
  await start()
  let vhosts = 0
  return {
    port,
    managementPort,
    adminUser,
    adminPassword,
    certs,
    api,
    start,
    env: ({ vhost = '/' } = {}) => ({
      RABBITMQ_ENDPOINT: '127.0.0.1',
      RABBITMQ_PORT: String(port),
      RABBITMQ_TLS: 'true',
      RABBITMQ_PORT_MANAGEMENT: String(managementPort),
      RABBITMQ_VHOST: vhost,
      TLS_CA: certs.ca,
    }),
    identity: (service) => ({
      [`${service}_BROKER_USER`]: adminUser,
      [`${service}_BROKER_PASSWORD`]: adminPassword,
    }),
    async addVhost() {
      const vhost = `test-${process.pid}-${++vhosts}`
      await api('PUT', `/vhosts/${vhost}`)
      const rights = { configure: '.*', write: '.*', read: '.*' }
      await api('PUT', `/permissions/${vhost}/${adminUser}`, rights)
      return vhost
    },
    async ctl(...args) {
      const { stdout } = await promisify(execFile)(join(scripts, 'rabbitmqctl'), args, {
        env: toolEnv,
      })
      return stdout
    },
    kill: async () => child?.kill(),
    keepQueues: () => writeRaftTerms(scripts, toolEnv),
  }
}
