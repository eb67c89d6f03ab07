// Every setting: its place in av-scan.yaml, its environment variable, type, default and meaning.
// The README's configuration reference is checked against this file.
import { z } from 'zod'

/** `env` is the variable that wins over the file; `*` in it stands for the service (AVSCAN, NOTIFIER, …). */
export interface SettingMeta {
  env?: string
  secret?: boolean
  description: string
}

function setting<T extends z.ZodType>(
  schema: T,
  description: string,
  env?: string,
  secret = false,
): T {
  return schema.meta({
    description,
    secret,
    ...(env === undefined ? {} : { env }),
  } satisfies SettingMeta)
}

const secretText = z.string().default('')
const port = z.int().min(1).max(65535)
const bytes = z.int().min(1)
// Node's timers fire at once beyond 2^31 - 1 ms, and some are longer by a little than the setting.
const milliseconds = z.int().min(1).max(2_000_000_000)
const httpUrl = z.url({ protocol: /^https?$/, error: 'expected an http:// or https:// address' })
/** Of a receiver; it may carry user and password, which become an Authorization header. */
const receiverUrl = httpUrl.refine(hasReadableCredentials, {
  error: 'a % in its user or password must be written as %25',
})
const webhookSecret = z
  .string()
  .regex(/^(whsec_[A-Za-z0-9+/]{32,}={0,2})(,whsec_[A-Za-z0-9+/]{32,}={0,2})*$/, {
    error:
      'expected whsec_ and at least 24 bytes in base64 (several, comma-separated, for rotation)',
  })

export const verdictNames = [
  'clean',
  'infected',
  'suspicious',
  'unscannable',
  'skipped',
  'failed',
] as const
const formats = ['standard', 'legacy'] as const

const endpoint = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,30}$/, { error: 'expected lower-case letters, digits and -' }),
  url: receiverUrl.or(z.literal('')),
  secret: webhookSecret,
  format: z.enum(formats).default('standard'),
  verdicts: z
    .array(z.enum(verdictNames))
    .default(['infected', 'suspicious', 'unscannable', 'failed']),
  objectEvents: z.boolean().default(true),
  prefix: z.string().default(''),
})

export type EndpointConfig = z.infer<typeof endpoint>

export const configSchema = z.strictObject({
  store: z
    .strictObject({
      url: setting(
        httpUrl.default('https://minio-service:9000'),
        'address of the object store',
        'MINIO_SERVER_URL',
      ),
      region: setting(
        z.string().min(1).default('eu-west-1'),
        'region used in signatures',
        'MINIO_REGION',
      ),
      buckets: setting(
        z
          .array(
            z
              .string()
              .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, { error: 'expected a bucket name' }),
          )
          .min(1)
          .default(['storagebucket']),
        'buckets that are scanned (comma list)',
        'MINIO_BUCKET_NAME',
      ),
      adopt: setting(
        z.array(z.string()).default([]),
        'of these, what was there before we came may be versioned, and its old versions expire after 7 days (comma list)',
        'ADOPT_BUCKETS',
      ),
      user: setting(z.string().default(''), "the service's own access key", '*_STORE_USER'),
      password: setting(secretText, "the service's own secret key", '*_STORE_PASSWORD', true),
      timeoutMs: setting(
        milliseconds.default(30_000),
        'longest silence of the store within one request',
      ),
    })
    .prefault({}),
  broker: z
    .strictObject({
      host: setting(z.string().min(1).default('mq-service'), 'RabbitMQ host', 'RABBITMQ_ENDPOINT'),
      port: setting(
        port.default(5671).refine((value) => value !== 15672 && value !== 15671, {
          error: 'is the management port; AMQP is 5671 (TLS) or 5672',
        }),
        'AMQP port: TLS is on unless the port is 5672 or `broker.tls` says so',
        'RABBITMQ_PORT',
      ),
      tls: setting(z.boolean().optional(), 'TLS to the broker', 'RABBITMQ_TLS'),
      managementPort: setting(
        port.default(15671),
        'management API (init, cli)',
        'RABBITMQ_PORT_MANAGEMENT',
      ),
      vhost: setting(z.string().min(1).default('/'), 'virtual host', 'RABBITMQ_VHOST'),
      user: setting(z.string().default(''), "the service's own user", '*_BROKER_USER'),
      password: setting(secretText, "the service's own password", '*_BROKER_PASSWORD', true),
      exchange: setting(
        z.string().min(1).default('s3minioscan'),
        'topic exchange of the events',
        'RABBITMQ_TOPIC',
      ),
      queue: setting(
        z.string().min(1).default('s3minioqueue'),
        'queue of live scan jobs',
        'RABBITMQ_QUEUE_NAME',
      ),
      routingKey: setting(
        z.string().min(1).default('bucket_notifications'),
        'routing key of the events',
        'RABBITMQ_QUEUE_ROUTING_KEY',
      ),
      confirmTimeoutMs: setting(
        milliseconds.default(30_000),
        'how long a publish may stay unconfirmed',
      ),
    })
    .prefault({}),
  tls: z
    .strictObject({
      ca: setting(
        z.string().default(''),
        'PEM file with CAs to trust besides the public ones',
        'TLS_CA',
      ),
    })
    .prefault({}),
  engine: z
    .strictObject({
      kind: setting(
        z.enum(['clamd', 'clamav-rest']).default('clamd'),
        'which engine judges the bytes',
        'ENGINE',
      ),
      host: setting(
        z.string().min(1).default('clamd-service'),
        'engine host (every address it resolves to is used)',
        'CLAMD_ENDPOINT',
      ),
      port: setting(
        port.optional(),
        'engine port: 3310 for clamd, 9443 for clamav-rest',
        'CLAMD_PORT',
      ),
      socket: setting(
        z.string().default(''),
        "clamd's unix socket, instead of host and port",
        'CLAMD_SOCKET',
      ),
      connections: setting(
        z.int().min(1).max(64).default(3),
        'scans at a time per engine address',
        'ENGINE_CONNECTIONS',
      ),
      maxScanTimeMs: setting(
        milliseconds.default(300_000),
        'longest scan of one object; over it UNSCANNABLE 199. Never more than nine tenths of engine.timeoutMs',
        'ENGINE_MAX_SCAN_TIME_MS',
      ),
      timeoutMs: setting(
        milliseconds.optional(),
        'longest wait for one answer after the last byte, from an engine that is alive; without it 30 s more than the longest scan',
        'ENGINE_TIMEOUT_MS',
      ),
      stallMs: setting(
        milliseconds.default(30_000),
        'longest stall while sending, and longest silence of an engine that should say at once that it is alive',
        'ENGINE_STALL_MS',
      ),
      breaker: z
        .strictObject({
          failures: setting(
            z.int().min(1).default(5),
            'failures in a row after which an engine address is left alone',
          ),
          openMs: setting(
            milliseconds.default(30_000),
            'how long it is left alone before it is tried again',
            'ENGINE_BREAKER_OPEN_MS',
          ),
          successes: setting(
            z.int().min(1).default(3),
            'successes in a row after which it is trusted again',
          ),
        })
        .prefault({}),
      outage: setting(
        z.enum(['fail-closed', 'fallback', 'pass-unscanned']).default('fail-closed'),
        'while no address of the engine can be used: wait, ask engine.fallback, or tag `unscanned` (never clean)',
        'ENGINE_OUTAGE',
      ),
      fallback: z
        .strictObject({
          kind: setting(
            z.enum(['none', 'clamd', 'clamav-rest']).default('none'),
            'the engine that is asked while the first one cannot be used',
            'FALLBACK_ENGINE',
          ),
          host: setting(z.string().default(''), 'its host', 'FALLBACK_CLAMD_ENDPOINT'),
          port: setting(
            port.optional(),
            'its port: 3310 for clamd, 9443 for clamav-rest',
            'FALLBACK_CLAMD_PORT',
          ),
          socket: setting(
            z.string().default(''),
            'its unix socket, instead of host and port',
            'FALLBACK_CLAMD_SOCKET',
          ),
        })
        .prefault({}),
    })
    .prefault({}),
  scan: z
    .strictObject({
      folder: setting(
        z.string().min(1).default('/tmp/av-scan'),
        'where objects are kept while they are scanned',
        'SCAN_FOLDER',
      ),
      concurrency: setting(
        z.int().min(1).max(256).default(12),
        'objects at a time per worker',
        'SCAN_CONCURRENCY',
      ),
    })
    .prefault({}),
  limits: z
    .strictObject({
      volumeGb: setting(
        z.number().positive().default(2),
        'GB that running downloads of a worker may take together',
        'VOLUME_SIZE',
      ),
      maxObjectBytes: setting(
        bytes.optional(),
        'largest object that is scanned; default and at most half of VOLUME_SIZE',
        'MAX_OBJECT_BYTES',
      ),
    })
    .prefault({}),
  tags: z
    .strictObject({
      enabled: setting(
        z.boolean().default(true),
        'write verdict tags (off: records in the bucket avscan-records)',
        'TAG_FILES',
      ),
      key: setting(
        z
          .string()
          .regex(/^[A-Za-z0-9+\-._:/@ =]{1,100}$/, {
            error: 'expected 1 to 100 letters, digits or + - = . _ : / @',
          })
          .default('scanned'),
        'key of the verdict tag',
        'TAG_KEY',
      ),
      detail: setting(z.boolean().default(false), 'also write -at, -reason, -signature, -engine'),
    })
    .prefault({}),
  records: z
    .strictObject({
      bucket: setting(
        z.string().min(3).default('avscan-records'),
        'bucket for verdicts that tags cannot hold',
        'RECORDS_BUCKET',
      ),
    })
    .prefault({}),
  reconcile: z
    .strictObject({
      afterMs: setting(
        milliseconds.default(60_000),
        'how long after its event an object must have its verdict, else it gets a verify job; part of a queue name',
        'RECONCILE_AFTER_MS',
      ),
    })
    .prefault({}),
  sweep: z
    .strictObject({
      intervalMs: setting(
        z
          .int()
          .min(0)
          .default(24 * 60 * 60 * 1000),
        'how often the whole bucket is compared with the proven verdicts; 0: only when something went wrong or somebody asks',
        'SWEEP_INTERVAL_MS',
      ),
    })
    .prefault({}),
  rescan: z
    .strictObject({
      windowMs: setting(
        z
          .int()
          .min(0)
          .default(24 * 60 * 60 * 1000),
        'objects whose first verdict is younger than this are scanned again when the signatures change; 0: none',
        'RESCAN_WINDOW_MS',
      ),
    })
    .prefault({}),
  canary: z
    .strictObject({
      intervalMs: setting(
        milliseconds.default(60_000),
        'how often EICAR and a clean file go through each engine, and an object through the whole pipeline',
        'CANARY_INTERVAL_MS',
      ),
    })
    .prefault({}),
  actions: z
    .strictObject({
      delete: setting(z.boolean().default(true), 'delete infected versions', 'DELETE_FILE'),
      deleteUnversioned: setting(
        z.enum(['refuse', 'accept-race']).default('refuse'),
        'on an unversioned bucket whose store ignores If-Match on DELETE',
        'DELETE_UNVERSIONED',
      ),
    })
    .prefault({}),
  proof: z
    .strictObject({
      key: setting(
        secretText,
        'HMAC key of the proof tag (at least 32 characters)',
        'PROOF_KEY',
        true,
      ),
      oldKeys: setting(
        z.array(z.string()).default([]),
        'earlier keys that still verify (comma list)',
        'PROOF_OLD_KEYS',
        true,
      ),
    })
    .prefault({}),
  signatures: z
    .strictObject({
      set: setting(
        z.enum(['official', 'custom', 'test']).optional(),
        'what the signature set is called in verdicts; told by deploy',
        'SIGNATURE_SET',
      ),
    })
    .prefault({}),
  audit: z
    .strictObject({
      enabled: setting(
        z.boolean().default(true),
        "take the store's audit log (MinIO, Silo), which tells of writes that events cannot be trusted to tell of",
        'STORE_AUDIT',
      ),
      host: setting(
        z.string().min(1).default('127.0.0.1'),
        'where the audit log is taken',
        'STORE_AUDIT_HOST',
      ),
      port: setting(z.int().min(0).max(65535).default(8444), 'its port', 'STORE_AUDIT_PORT'),
      token: setting(secretText, 'what the store sends with it', 'STORE_AUDIT_TOKEN', true),
      certificate: setting(
        z.string().default('/opt/av-scan/certs/store-audit/server.crt'),
        'PEM file with its certificate',
        'STORE_AUDIT_CERT',
      ),
      key: setting(
        z.string().default('/opt/av-scan/certs/store-audit/server.key'),
        "PEM file with the certificate's key",
        'STORE_AUDIT_KEY',
      ),
      folder: setting(
        z.string().min(1).default('/opt/av-scan/store-audit'),
        'where it keeps what must outlive a restart',
        'STORE_AUDIT_FOLDER',
      ),
      queueSize: setting(
        z.int().min(1).default(100_000),
        "files that the store's queue holds while nobody takes them: MINIO_AUDIT_WEBHOOK_QUEUE_SIZE",
        'STORE_AUDIT_QUEUE_SIZE',
      ),
    })
    .prefault({}),
  publish: z
    .strictObject({
      url: setting(
        receiverUrl.or(z.literal('')).default(''),
        'webhook that receives verdicts; empty: off',
        'PUBLISH_URL',
      ),
      secret: setting(
        webhookSecret.or(z.literal('')).default(''),
        'its signing secret',
        'PUBLISH_SECRET',
        true,
      ),
      format: setting(z.enum(formats).default('standard'), 'its body', 'PUBLISH_FORMAT'),
      reportClean: setting(
        z.boolean().default(false),
        'tell it about clean objects too',
        'REPORT_CLEAN',
      ),
    })
    .prefault({}),
  endpoints: z.array(endpoint).default([]).meta({
    description: 'further webhooks: name, url, secret, format, verdicts, objectEvents, prefix',
  }),
  webhook: z
    .strictObject({
      timeoutMs: setting(milliseconds.default(20_000), 'how long a receiver may take to answer'),
      concurrency: setting(z.int().min(1).max(64).default(8), 'requests at a time per endpoint'),
    })
    .prefault({}),
  retry: z
    .strictObject({
      scale: setting(
        z.number().positive().max(1).default(1),
        'factor on every retry delay (tests)',
        'RETRY_SCALE',
      ),
    })
    .prefault({}),
  http: z
    .strictObject({
      host: setting(
        z.string().default('127.0.0.1'),
        'where /healthz, /readyz and /metrics listen',
        'HTTP_HOST',
      ),
      port: setting(
        z.int().min(0).max(65535).default(8080),
        'their port; 0: any free one',
        'HTTP_PORT',
      ),
    })
    .prefault({}),
  log: z
    .strictObject({
      format: setting(z.enum(['json', 'text']).default('json'), 'json lines or text', 'LOG_FORMAT'),
      level: setting(
        z.enum(['error', 'warn', 'info', 'debug']).default('info'),
        'least severe level printed',
        'LOG_LEVEL',
      ),
      file: setting(z.string().default(''), 'also log to this file', 'LOG_FILE'),
    })
    .prefault({}),
  shutdown: z
    .strictObject({
      timeoutMs: setting(
        milliseconds.default(30_000),
        'how long running work may finish after SIGTERM',
        'SHUTDOWN_TIMEOUT_MS',
      ),
    })
    .prefault({}),
})

export type Config = z.infer<typeof configSchema>

export const GiB = 1024 ** 3

/** Rules across settings; each problem names the path that a user would change. */
export function crossChecks(config: Config, service: string): { path: string; message: string }[] {
  const problems: { path: string; message: string }[] = []
  const half = Math.floor((config.limits.volumeGb * GiB) / 2)
  const max = config.limits.maxObjectBytes
  if (max !== undefined && max > half)
    problems.push({
      path: 'limits.maxObjectBytes',
      message: `at most half of VOLUME_SIZE (${half} bytes), got ${max}`,
    })
  // Only the notifier holds the secret.
  if (service === 'notifier' && config.publish.url !== '' && config.publish.secret === '')
    problems.push({
      path: 'publish.secret',
      message: 'required when PUBLISH_URL is set; set PUBLISH_SECRET (whsec_…)',
    })
  if (config.audit.token !== '' && config.audit.token.length < 32)
    problems.push({ path: 'audit.token', message: 'at least 32 characters' })
  if (config.proof.key !== '' && config.proof.key.length < 32)
    problems.push({ path: 'proof.key', message: 'at least 32 characters' })
  for (const [index, key] of config.proof.oldKeys.entries())
    if (key.length < 32)
      problems.push({ path: `proof.oldKeys.${index}`, message: 'at least 32 characters' })
  if (config.engine.socket !== '' && config.engine.kind !== 'clamd')
    problems.push({
      path: 'engine.socket',
      message: 'only clamd has a socket; ENGINE is clamav-rest',
    })
  const { outage, fallback } = config.engine
  if (
    outage === 'fallback' &&
    (fallback.kind === 'none' || (fallback.host === '' && fallback.socket === ''))
  )
    problems.push({
      path: 'engine.fallback.kind',
      message: 'engine.outage is fallback: name the engine (FALLBACK_ENGINE) and where it is',
    })
  if (fallback.socket !== '' && fallback.kind !== 'clamd')
    problems.push({ path: 'engine.fallback.socket', message: 'only clamd has a socket' })
  const names = config.endpoints.map((one) => one.name)
  for (const [index, name] of names.entries())
    if (names.indexOf(name) !== index)
      problems.push({ path: `endpoints.${index}.name`, message: `"${name}" is there twice` })
  for (const [index, bucket] of config.store.buckets.entries())
    if (bucket === config.records.bucket)
      problems.push({
        path: `store.buckets.${index}`,
        message: `"${bucket}" is the records bucket; it cannot be scanned`,
      })
  return problems
}

/** `user:password` as an address carries them, undefined where it carries none; null where they are not percent-encoded text. */
export function basicCredentials({ username, password }: URL): string | undefined | null {
  if (username === '' && password === '') return undefined
  try {
    return `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  } catch {
    return null
  }
}

function hasReadableCredentials(text: string): boolean {
  return !URL.canParse(text) || basicCredentials(new URL(text)) !== null
}

/** An address as it may be printed: who logs in, and what is asked for, may be secrets. */
export function maskedUrl(text: string): string {
  if (!URL.canParse(text)) return text
  const url = new URL(text)
  if (url.username === '' && url.password === '' && url.search === '') return text
  for (const part of ['username', 'password'] as const) if (url[part] !== '') url[part] = '***'
  if (url.search !== '') url.search = '?***'
  return url.href
}

export function maxObjectBytes(config: Config): number {
  return config.limits.maxObjectBytes ?? Math.floor((config.limits.volumeGb * GiB) / 2)
}

/**
 * How long the engine may scan one object, and how long we wait for what it found: always longer. Of a scan that we gave up before
 * clamd does, clamd keeps the thread.
 */
export function engineTimes({
  maxScanTimeMs,
  timeoutMs = maxScanTimeMs + 30_000,
}: Pick<Config['engine'], 'maxScanTimeMs' | 'timeoutMs'>) {
  return { maxScanTimeMs: Math.min(maxScanTimeMs, Math.ceil(timeoutMs * 0.9)), timeoutMs }
}

export function enginePort({ kind, port }: Pick<Config['engine'], 'kind' | 'port'>): number {
  return port ?? (kind === 'clamd' ? 3310 : 9443)
}

/** PUBLISH_URL and REPORT_CLEAN are shorthand for the endpoint named `` (queue `avscan.notify`). */
export function allEndpoints(config: Config): EndpointConfig[] {
  const { url, secret, format, reportClean } = config.publish
  const verdicts: EndpointConfig['verdicts'] = ['infected', 'suspicious', 'unscannable', 'failed']
  if (reportClean) verdicts.push('clean', 'skipped')
  return [
    { name: '', url, secret, format, verdicts, objectEvents: true, prefix: '' },
    ...config.endpoints,
  ]
}
