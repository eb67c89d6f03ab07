// The object store as a supervised child: MinIO, or VersityGW, with its events going to the broker over TLS.
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Layout } from './layout.ts'
import type { Ports } from './ports.ts'
import type { Secrets } from './secrets.ts'
import type { ChildSpec } from './spec.ts'

export type StoreFlavour = 'versitygw' | 'minio'

export interface StoreProcessOptions {
  flavour: StoreFlavour
  /** The server's binary. */
  binary: string
  layout: Layout
  ports: Ports
  secrets: Secrets
  region: string
  exchange: string
  routingKey: string
  /** Of the durable copy of each event; only MinIO has a target for it. */
  spoolRoutingKey: string
  vhost: string
  /** Whether MinIO sends its audit log, and how many files its queue holds meanwhile. */
  audit: { enabled: boolean; queueSize: number }
  base: Readonly<Record<string, string>>
}

const createdEvents = ['Put', 'Post', 'Copy', 'CompleteMultipartUpload']

function amqpUrl({ secrets, ports, vhost }: StoreProcessOptions): string {
  const user = encodeURIComponent(secrets['RABBITMQ_REGULAR_USER_NAME'] ?? '')
  const password = encodeURIComponent(secrets['RABBITMQ_REGULAR_USER_PASS'] ?? '')
  return `amqps://${user}:${password}@127.0.0.1:${ports.amqps}/${encodeURIComponent(vhost)}`
}

export function storeChild(options: StoreProcessOptions): ChildSpec {
  return options.flavour === 'minio' ? minioChild(options) : versitygwChild(options)
}

function minioChild(options: StoreProcessOptions): ChildSpec {
  const { layout, ports, secrets, base } = options
  const data = join(layout.store, 'minio')
  const spool = join(layout.store, 'spool')
  const auditQueue = join(layout.store, 'audit')
  for (const folder of [data, spool, auditQueue])
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  const target = (id: string, extra: Record<string, string>) =>
    Object.fromEntries(
      Object.entries({
        ENABLE: 'on',
        URL: amqpUrl(options),
        EXCHANGE: options.exchange,
        EXCHANGE_TYPE: 'topic',
        DURABLE: 'on',
        DELIVERY_MODE: '2',
        PUBLISHING_CONFIRMS: 'on',
        NO_WAIT: 'off',
        INTERNAL: 'off',
        AUTO_DELETED: 'off',
        MANDATORY: 'off',
        ...extra,
      }).map(([key, value]) => [`MINIO_NOTIFY_AMQP_${key}_${id}`, value]),
    )
  return {
    name: 'store',
    command: [
      options.binary,
      'server',
      '--quiet',
      '--certs-dir',
      layout.storeCerts,
      '--address',
      `127.0.0.1:${ports.store}`,
      '--console-address',
      `127.0.0.1:${ports.storeConsole}`,
      data,
    ],
    env: {
      ...base,
      HOME: layout.store,
      MINIO_ROOT_USER: secrets['MINIO_ROOT_USER'] ?? '',
      MINIO_ROOT_PASSWORD: secrets['MINIO_ROOT_PASSWORD'] ?? '',
      MINIO_REGION: options.region,
      MINIO_SITE_REGION: options.region,
      MINIO_UPDATE: 'off',
      // The event is on its way before the upload is answered.
      MINIO_API_SYNC_EVENTS: 'on',
      ...target('FAST', { ROUTING_KEY: options.routingKey }),
      ...target('SPOOL', {
        ROUTING_KEY: options.spoolRoutingKey,
        QUEUE_DIR: spool,
        // A file for each event. Beyond that uploads are still taken, but their events are kept no more.
        QUEUE_LIMIT: '1000000',
      }),
      ...(options.audit.enabled
        ? auditTarget({
            endpoint: `https://127.0.0.1:${ports.audit}/`,
            token: secrets['STORE_AUDIT_TOKEN'] ?? '',
            queueDir: auditQueue,
            queueSize: options.audit.queueSize,
          })
        : {}),
      // MinIO's AMQP target trusts the system's roots only.
      SSL_CERT_FILE: layout.caBundle,
    },
    cwd: layout.store,
    ready: {
      kind: 'http',
      url: `https://127.0.0.1:${ports.store}/minio/health/ready`,
      caFile: layout.caFile,
    },
    readyTimeoutMs: 60_000,
    stopTimeoutMs: 20_000,
    mask: ['RABBITMQ_REGULAR_USER_PASS', 'MINIO_ROOT_PASSWORD', 'STORE_AUDIT_TOKEN'].map(
      (name) => secrets[name] ?? '',
    ),
  }
}

export interface AuditTarget {
  endpoint: string
  token: string
  queueDir: string
  queueSize: number
}

/** MinIO's audit log to our receiver; compose.yaml has the same. */
export function auditTarget({ endpoint, token, queueDir, queueSize }: AuditTarget) {
  const settings = {
    ENABLE: 'on',
    ENDPOINT: endpoint,
    AUTH_TOKEN: `Bearer ${token}`,
    // Kept on disk until the receiver has it: a file a second, or for a thousand calls. In memory MinIO keeps as many calls.
    QUEUE_DIR: queueDir,
    QUEUE_SIZE: String(queueSize),
    BATCH_SIZE: '1000',
    HTTP_TIMEOUT: '60s',
  }
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [`MINIO_AUDIT_WEBHOOK_${key}_AVSCAN`, value]),
  )
}

/** VersityGW keeps its metadata in extended attributes; without them it needs a folder beside the data. */
function hasExtendedAttributes(folder: string): boolean {
  try {
    const file = join(folder, '.xattr-probe')
    writeFileSync(file, '')
    execFileSync(
      'python3',
      ['-c', 'import os,sys; os.setxattr(sys.argv[1], "user.avscan", b"1")', file],
      { stdio: 'ignore' },
    )
    rmSync(file)
    return true
  } catch (error) {
    // Without python3 nothing is known; every common disk file system has them.
    return error instanceof Error && 'code' in error && error.code === 'ENOENT'
  }
}

function versitygwChild(options: StoreProcessOptions): ChildSpec {
  const { layout, ports, secrets, base } = options
  const folder = (name: string) => {
    const path = join(layout.store, name)
    mkdirSync(path, { recursive: true, mode: 0o700 })
    return path
  }
  const filter = join(layout.store, 'events.json')
  const wanted = createdEvents.map((kind) => [`s3:ObjectCreated:${kind}`, true])
  writeFileSync(filter, `${JSON.stringify(Object.fromEntries(wanted), undefined, 1)}\n`)
  const data = folder('versitygw')
  const sidecar = hasExtendedAttributes(data) ? [] : ['--sidecar', folder('sidecar')]
  return {
    name: 'store',
    command: [
      options.binary,
      '--port',
      `127.0.0.1:${ports.store}`,
      '--cert',
      join(layout.storeCerts, 'public.crt'),
      '--key',
      join(layout.storeCerts, 'private.key'),
      '--region',
      options.region,
      '--iam-dir',
      folder('iam'),
      '--health',
      '/health',
      '--keep-alive',
      '--quiet',
      '--event-filter',
      filter,
      '--event-rabbitmq-exchange',
      options.exchange,
      '--event-rabbitmq-routing-key',
      options.routingKey,
      'posix',
      '--versioning-dir',
      folder('versions'),
      ...sidecar,
      data,
    ],
    env: {
      ...base,
      HOME: layout.store,
      ROOT_ACCESS_KEY: secrets['MINIO_ROOT_USER'] ?? '',
      ROOT_SECRET_KEY: secrets['MINIO_ROOT_PASSWORD'] ?? '',
      VGW_EVENT_RABBITMQ_URL: amqpUrl(options),
      SSL_CERT_FILE: layout.caBundle,
    },
    cwd: layout.store,
    ready: { kind: 'http', url: `https://127.0.0.1:${ports.store}/health`, caFile: layout.caFile },
    readyTimeoutMs: 60_000,
    stopTimeoutMs: 15_000,
    holds: { port: ports.amqps, of: 'broker' },
    // It prints the URL, with the password, when it starts.
    mask: [secrets['RABBITMQ_REGULAR_USER_PASS'] ?? ''],
  }
}
