// Real object stores for tests, MinIO first, as deploy finds or builds them. TLS on a free port of 127.0.0.1, data in a folder
// of the test; they end with it.
//
//   for (const flavour of storeFlavours)                       // ['minio', 'versitygw']
//     const store = await startStore({ flavour, broker, vhost })  // with a broker: events go to RABBITMQ_TOPIC there
//     const env = { ...store.env(), ...store.identity('AVSCAN') }  // MINIO_SERVER_URL, TLS_CA, MC_BIN …; root's keys
//
// VersityGW refuses to start before its exchange's broker answers, and publishes into nothing without the exchange:
// run `init broker` (or declare the topology) first.
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { findProgram } from '../../services/cli/find-program.ts'
import { builtStore, findStore } from '../../services/cli/install-store.ts'
import { findPaths } from '../../services/cli/paths.ts'
import { auditTarget, type StoreFlavour } from '../../services/cli/store-process.ts'
import { eventually } from './eventually.ts'
import type { TlsRabbitmq } from './tls-rabbitmq.ts'
import { testCerts, type TestCerts } from './test-certs.ts'
import { freePorts, startProcess, testFolder, type TestProcess } from './test-process.ts'

export type { StoreFlavour }

const { toolsDir } = findPaths({})
const path = process.env['PATH']

/** Why tests with MinIO cannot run, or undefined. */
export const noMinio =
  builtStore('minio', toolsDir) === undefined &&
  ['minio', 'mc'].some((name) => findProgram(name, path) === undefined)
    ? 'MinIO is not built (node testing/support/store-programs.ts)'
    : undefined

export const storeFlavours: readonly StoreFlavour[] =
  noMinio === undefined ? ['minio', 'versitygw'] : ['versitygw']

/** For what is tried on one store only. */
export const firstStore: StoreFlavour = storeFlavours[0] ?? 'versitygw'

export interface StoreOptions {
  flavour: StoreFlavour
  /** Where its events go; without one it has no events. */
  broker?: TlsRabbitmq
  vhost?: string
  exchange?: string
  routingKey?: string
  /** The broker's user; default: the administrator. */
  brokerUser?: string
  brokerPassword?: string
  /** Where MinIO sends its audit log. */
  audit?: { endpoint: string; token: string; queueSize?: number }
  /** Instead of the usual one (expired, foreign). */
  certificate?: { certificate: string; key: string }
}

export interface RealStore {
  readonly flavour: StoreFlavour
  readonly url: string
  readonly port: number
  readonly region: string
  readonly rootUser: string
  readonly rootPassword: string
  readonly certs: TestCerts
  /** Settings by which our services and init reach it, and init's program for its users; without an identity. */
  env(): Record<string, string>
  /** `AVSCAN` → AVSCAN_STORE_USER and _PASSWORD of root (tests that are not about rights). */
  identity(service: string): Record<string, string>
  log(): string
  /** As kill -9. */
  kill(): Promise<void>
  /** After `kill`, on the same port with the same data. */
  start(): Promise<void>
  pause(): void
  resume(): void
}

export async function startStore(options: StoreOptions): Promise<RealStore> {
  const { flavour } = options
  const programs = await findStore(flavour, toolsDir)
  const certs = await testCerts()
  const folder = testFolder(flavour)
  const [port = 0] = await freePorts(1)
  const rootUser = 'storeroot'
  const rootPassword = randomBytes(18).toString('hex')
  const region = 'eu-west-1'
  const url = `https://127.0.0.1:${port}`
  const server = options.certificate ?? certs.server('store')
  const settings = {
    binary: programs.server,
    folder,
    port,
    rootUser,
    rootPassword,
    region,
    server,
    certs,
    options,
  }
  const { command, env } = flavour === 'minio' ? minio(settings) : versitygw(settings)
  const health = flavour === 'minio' ? '/minio/health/ready' : '/health'
  // Its own certificates are checked by the tests that are about them.
  const agent = new Agent({ connect: { rejectUnauthorized: false } })
  let child: TestProcess | undefined
  const start = async () => {
    const started = startProcess({ command, folder, name: flavour, env })
    child = started
    await eventually(
      async () => {
        if (!started.running) return true
        const answer = await request(`${url}${health}`, { dispatcher: agent })
        await answer.body.dump()
        return answer.statusCode === 200
      },
      { timeoutMs: 60_000, everyMs: 50 },
    )
    if (!started.running) throw new Error(`${flavour} ended:\n${started.log().slice(-2000)}`)
  }
  await start()
  const signal = (name: NodeJS.Signals) => process.kill(-(child?.pid ?? 0), name)
  return {
    flavour,
    url,
    port,
    region,
    rootUser,
    rootPassword,
    certs,
    env: () => ({
      STORE_FLAVOUR: flavour,
      MINIO_SERVER_URL: url,
      MINIO_REGION: region,
      MINIO_ROOT_USER: rootUser,
      MINIO_ROOT_PASSWORD: rootPassword,
      TLS_CA: certs.ca,
      MC_BIN: programs.admin,
    }),
    identity: (service) => ({
      [`${service}_STORE_USER`]: rootUser,
      [`${service}_STORE_PASSWORD`]: rootPassword,
    }),
    log: () => child?.log() ?? '',
    start,
    kill: async () => child?.kill(),
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
  }
}

interface Settings {
  binary: string
  folder: string
  port: number
  rootUser: string
  rootPassword: string
  region: string
  server: { certificate: string; key: string }
  certs: TestCerts
  options: StoreOptions
}

interface Invocation {
  command: string[]
  env: Record<string, string>
}

function amqpUrl({ broker, vhost = '/', brokerUser, brokerPassword }: StoreOptions): string {
  if (broker === undefined) return ''
  const user = encodeURIComponent(brokerUser ?? broker.adminUser)
  const password = encodeURIComponent(brokerPassword ?? broker.adminPassword)
  return `amqps://${user}:${password}@127.0.0.1:${broker.port}/${encodeURIComponent(vhost)}`
}

function minio({
  binary,
  folder,
  port,
  rootUser,
  rootPassword,
  region,
  server,
  certs,
  options,
}: Settings): Invocation {
  const certsDir = join(folder, 'certs')
  mkdirSync(join(certsDir, 'CAs'), { recursive: true })
  writeFileSync(join(certsDir, 'public.crt'), readFileSync(server.certificate))
  writeFileSync(join(certsDir, 'private.key'), readFileSync(server.key), { mode: 0o600 })
  writeFileSync(join(certsDir, 'CAs/ca.crt'), readFileSync(certs.ca))
  const routingKey = options.routingKey ?? 'bucket_notifications'
  const target = {
    ENABLE: 'on',
    URL: amqpUrl(options),
    EXCHANGE: options.exchange ?? 's3minioscan',
    EXCHANGE_TYPE: 'topic',
    DURABLE: 'on',
    DELIVERY_MODE: '2',
    PUBLISHING_CONFIRMS: 'on',
  }
  const targets = {
    FAST: { ...target, ROUTING_KEY: routingKey },
    SPOOL: {
      ...target,
      ROUTING_KEY: `${routingKey}.spool`,
      QUEUE_DIR: join(folder, 'spool'),
      QUEUE_LIMIT: '1000000',
    },
  }
  const notify = Object.entries(options.broker === undefined ? {} : targets).flatMap(
    ([id, settings]) =>
      Object.entries(settings).map(([key, value]) => [`MINIO_NOTIFY_AMQP_${key}_${id}`, value]),
  )
  const address = `127.0.0.1:${port}`
  return {
    command: [binary, 'server', '--quiet', '--certs-dir', certsDir].concat(
      '--address',
      address,
      '--console-address',
      '127.0.0.1:0',
      join(folder, 'data'),
    ),
    env: {
      HOME: folder,
      MINIO_ROOT_USER: rootUser,
      MINIO_ROOT_PASSWORD: rootPassword,
      MINIO_REGION: region,
      MINIO_SITE_REGION: region,
      MINIO_BROWSER: 'off',
      MINIO_UPDATE: 'off',
      SSL_CERT_FILE: certs.bundle,
      MINIO_API_SYNC_EVENTS: 'on',
      ...(options.audit === undefined
        ? {}
        : auditTarget({ queueSize: 100_000, queueDir: join(folder, 'audit'), ...options.audit })),
      ...Object.fromEntries(notify),
    },
  }
}

function versitygw({
  binary,
  folder,
  port,
  rootUser,
  rootPassword,
  region,
  server,
  certs,
  options,
}: Settings): Invocation {
  const sub = (name: string) => {
    mkdirSync(join(folder, name))
    return join(folder, name)
  }
  const filter = join(folder, 'events.json')
  const kinds = ['Put', 'Post', 'Copy', 'CompleteMultipartUpload']
  writeFileSync(
    filter,
    JSON.stringify(Object.fromEntries(kinds.map((kind) => [`s3:ObjectCreated:${kind}`, true]))),
  )
  const events = ['--event-filter', filter]
    .concat('--event-rabbitmq-exchange', options.exchange ?? 's3minioscan')
    .concat('--event-rabbitmq-routing-key', options.routingKey ?? 'bucket_notifications')
  return {
    command: [binary, '--port', `127.0.0.1:${port}`, '--region', region]
      .concat('--cert', server.certificate, '--key', server.key, '--iam-dir', sub('iam'))
      // A user's new password would otherwise be known after two minutes only.
      .concat('--health', '/health', '--keep-alive', '--quiet', '--iam-cache-disable')
      .concat(options.broker === undefined ? [] : events)
      .concat('posix', '--versioning-dir', sub('versions'), sub('data')),
    env: {
      HOME: folder,
      ROOT_ACCESS_KEY: rootUser,
      ROOT_SECRET_KEY: rootPassword,
      SSL_CERT_FILE: certs.bundle,
      ...(options.broker === undefined ? {} : { VGW_EVENT_RABBITMQ_URL: amqpUrl(options) }),
    },
  }
}
