// The real reconciler as a child process between a real broker and a real store, on a virtual host and with buckets of its own;
// what a test puts into the bucket and marks as judged, and the jobs that come out. No worker runs.
import { connect, type ChannelModel, type ConfirmChannel } from 'amqplib'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { Client, NotificationConfig, QueueConfig } from 'minio'
import { request } from 'undici'
import { Marks } from '../../services/avscan/marks.ts'
import { smallMemory } from '../../services/cli/native-plan.ts'
import { findPaths } from '../../services/cli/paths.ts'
import { amqpOptions } from '../../services/shared/broker.ts'
import type { Config } from '../../services/shared/config-schema.ts'
import { loadConfig } from '../../services/shared/config.ts'
import { decodeJobs, type ScanJob } from '../../services/shared/messages.ts'
import { createObjectStore, type ObjectStore } from '../../services/shared/object-store.ts'
import { proofOptions } from '../../services/shared/proven.ts'
import { bulkQueue, names, spoolQueue } from '../../services/shared/topology.ts'
import { eventually } from './eventually.ts'
import { startStore, type RealStore, type StoreFlavour } from './real-store.ts'
import { runInit } from './run-init.ts'
import { freePorts, startProcess, testFolder, type TestProcess } from './test-process.ts'
import { startTlsRabbitmq, type TlsRabbitmq } from './tls-rabbitmq.ts'

export const bucket = 'storagebucket'
export const recordsBucket = 'avscan-records'

const main = new URL('../../services/reconciler/main.ts', import.meta.url).pathname
const isUnfinished = ({ finishedAt }: SweepFacts) => finishedAt === undefined
const secret = (name: string) => `${name}0123456789abcdef01234567`

export interface Put {
  bucket: string
  key: string
  versionId: string | undefined
}

export interface SweepFacts {
  id: string
  reason: string
  running: boolean
  paused?: string
  since?: string
  seen: number
  queued: number
  rate: number
  total?: number
  finishedAt?: string
}

export interface Facts {
  status: string
  reasons: string[]
  sweep?: SweepFacts
  sweeps?: SweepFacts[]
  canary?: { state: string; why?: string }
  events?: { coveredUntil: string; gap: string[] }
}

export interface ReconcilerBench {
  readonly broker: TlsRabbitmq
  readonly server: RealStore
  /** As root, with the settings of the reconciler. */
  readonly store: ObjectStore
  readonly config: Readonly<Config>
  readonly queues: { live: string; bulk: string; spool: string }
  /** What it has printed, of its last life. */
  log(): string
  pid(): number
  begin(env?: Record<string, string>): Promise<void>
  /** As kill -9. */
  kill(): Promise<void>
  stop(): Promise<number | null>
  put(key: string, content?: string, into?: string): Promise<Put>
  putMany(keys: readonly string[], into?: string): Promise<Put[]>
  /** Writes tag and proof as a worker would. */
  mark(object: Put, tag: 'clean' | 'infected' | 'no' | 'unscanned', more?: Mark): Promise<void>
  publish(exchange: string, key: string, body: unknown): Promise<void>
  askForSweep(id: string, since?: string): Promise<void>
  /** Waits until no sweep waits or runs and one of that reason or id has ended in this life of the process. */
  swept(wanted: string): Promise<SweepFacts>
  /** Waits until no sweep waits or runs. */
  idle(): Promise<void>
  /** Takes all jobs of a queue that are there now. */
  take(queue: string): Promise<ScanJob[]>
  /** Keeps a queue empty and hands over its jobs, until closed. */
  drain(
    queue: string,
    onJob?: (job: ScanJob) => unknown,
  ): Promise<{ jobs: ScanJob[]; end(): Promise<void> }>
  facts(): Promise<Facts>
  metric(name: string): Promise<number>
  close(): Promise<void>
}

export interface Mark {
  reason?: number
  signatureVersion?: string
  /** As with TAG_FILES=false. */
  record?: boolean
  /** Default: now, by the store's clock. */
  judgedAt?: Date
}

export interface BenchOptions {
  flavour: StoreFlavour
  /** Default: that of the test process. */
  broker?: TlsRabbitmq
  versioned?: boolean
  /** Whether the store sends events. */
  events?: boolean
  env?: Record<string, string>
}

export async function openReconciler(options: BenchOptions): Promise<ReconcilerBench> {
  const broker = options.broker ?? (await startTlsRabbitmq())
  const vhost = await broker.addVhost()
  const base = {
    ...broker.env({ vhost }),
    RABBITMQ_DEFAULT_PASS: broker.adminPassword,
    RABBITMQ_REGULAR_USER_PASS: secret('store'),
    AVSCAN_BROKER_PASSWORD: secret('avscan'),
    NOTIFIER_BROKER_PASSWORD: secret('notifier'),
    RECONCILER_BROKER_PASSWORD: secret('reconciler'),
    STORE_AUDIT_BROKER_PASSWORD: secret('store-audit'),
    RETRY_SCALE: '0.005',
    CANARY_INTERVAL_MS: '600000',
    SWEEP_INTERVAL_MS: '0',
    ...options.env,
  }
  const declared = await runInit(['broker'], base)
  if (declared.code !== 0) throw new Error(declared.stdout)
  const server = await startStore({
    flavour: options.flavour,
    ...(options.events === true ? { broker, vhost } : {}),
  })
  const env: Record<string, string> = {
    ...base,
    ...server.env(),
    ...server.identity('RECONCILER'),
    ...broker.identity('RECONCILER'),
    PROOF_KEY: secret('proof-proof-proof'),
    LOG_FORMAT: 'json',
  }
  const config = loadConfig({ service: 'reconciler', env })
  const store = createObjectStore({ ...config.store, caFile: config.tls.ca })
  const marks = (tags: boolean) =>
    new Marks(store, { ...proofOptions(config), tags, tagDetail: false })
  const client = new Client({
    endPoint: '127.0.0.1',
    port: server.port,
    useSSL: true,
    region: server.region,
    accessKey: server.rootUser,
    secretKey: server.rootPassword,
    transportAgent: new Agent({ ca: readFileSync(config.tls.ca), keepAlive: true }),
  })
  await client.makeBucket(recordsBucket, server.region)
  for (const name of config.store.buckets) {
    await client.makeBucket(name, server.region)
    if (options.versioned !== false) await client.setBucketVersioning(name, { Status: 'Enabled' })
    // VersityGW sends the events of all buckets.
    if (options.events === true && options.flavour === 'minio') {
      const queue = new QueueConfig(`arn:minio:sqs:${server.region}:FAST:amqp`)
      queue.addEvent('s3:ObjectCreated:Put')
      const rules = new NotificationConfig()
      rules.add(queue)
      // It answers before it has made its targets.
      await eventually(() => client.setBucketNotification(name, rules), { timeoutMs: 20_000 })
    }
  }

  let admin: ChannelModel | undefined
  const open = async (): Promise<ConfirmChannel> => {
    const { url, socket } = amqpOptions(config)
    admin = await connect(url, socket)
    admin.on('error', () => {})
    admin.on('close', () => (channel = undefined))
    const opened = await admin.createConfirmChannel()
    opened.on('error', () => {})
    return opened
  }
  let channel: Promise<ConfirmChannel> | undefined
  const opened = () => (channel ??= open())
  const queues = {
    live: config.broker.queue,
    bulk: bulkQueue(config),
    spool: spoolQueue(config),
  }
  // As make deploy starts it, its modules in the compile cache: what strips the types is 20 MB, and stays unloaded.
  const asDeployed = { ...smallMemory, NODE_COMPILE_CACHE: findPaths({}).compileCache }
  execFileSync(process.execPath, [main, '--check-config'], { env: { ...env, ...asDeployed } })
  let child: TestProcess | undefined
  let port = 0
  let begunAt = ''

  const bench: ReconcilerBench = {
    broker,
    server,
    store,
    config,
    queues,
    log: () => child?.log() ?? '',
    pid: () => child?.pid ?? 0,
    async begin(more = {}) {
      await child?.kill()
      begunAt = new Date().toISOString()
      ;[port = 0] = await freePorts(1)
      child = startProcess({
        command: [process.execPath, main],
        folder: testFolder('reconciler'),
        name: 'reconciler',
        env: { ...env, ...asDeployed, HTTP_PORT: String(port), ...more },
      })
      const started = child
      await eventually(
        () => {
          if (/"message":"ready"/.test(started.log())) return true
          if (!started.running) throw new Error(`the reconciler has ended: ${started.log()}`)
          return false
        },
        { timeoutMs: 30_000 },
      )
    },
    kill: async () => child?.kill(),
    async stop() {
      if (child === undefined) return null
      const { process: wrapper } = child
      const ended = new Promise<number | null>((resolve) => wrapper.once('exit', resolve))
      process.kill(Number(/"pid":(\d+)/.exec(child.log())?.[1] ?? child.pid), 'SIGTERM')
      return ended
    },
    async put(key, content = 'x', into = bucket) {
      const { versionId } = await client.putObject(into, key, Buffer.from(content))
      return { bucket: into, key, versionId: versionId ?? undefined }
    },
    async putMany(keys, into = bucket) {
      const done: Put[] = []
      let next = 0
      const one = async () => {
        for (let index = next++; index < keys.length; index = next++)
          done[index] = await bench.put(keys[index] ?? '', 'x', into)
      }
      await Promise.all(Array.from({ length: 16 }, one))
      return done
    },
    async mark(
      { bucket: of, key, versionId },
      tag,
      { reason = 0, signatureVersion = '100', record, judgedAt: said } = {},
    ) {
      const facts = await store.head({ bucket: of, key, versionId })
      const detail = { at: '', reason: '', signature: '', engine: '' }
      const judgedAt = said ?? facts.servedAt ?? new Date()
      const mark = { tag, reason, signatureVersion, judgedAt, write: {}, content: '', detail }
      await marks(record !== true).write({ bucket: of, key, facts }, mark)
    },
    async publish(exchange, key, body) {
      const on = await opened()
      const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body))
      on.publish(exchange, key, bytes, { persistent: true })
      await on.waitForConfirms()
    },
    askForSweep: (id, since) =>
      bench.publish(names.jobs, names.reconcile, {
        type: 'sweep.requested',
        timestamp: new Date().toISOString(),
        data: { id, reason: 'test', since },
      }),
    swept: (wanted) =>
      eventually(
        async () => {
          const { sweeps = [] } = await bench.facts()
          const found = sweeps.findLast(
            ({ id, reason, finishedAt = '' }) =>
              finishedAt >= begunAt && (id === wanted || reason.includes(wanted)),
          )
          if (found === undefined || sweeps.some(isUnfinished))
            throw new Error(`"${wanted}" is not swept: ${JSON.stringify(sweeps)}\n${bench.log()}`)
          return found
        },
        { timeoutMs: 60_000, everyMs: 50 },
      ),
    async idle() {
      await eventually(
        async () => {
          const { sweeps } = await bench.facts()
          return sweeps !== undefined && !sweeps.some(isUnfinished)
        },
        { timeoutMs: 60_000 },
      )
    },
    async take(queue) {
      const on = await opened()
      const jobs: ScanJob[] = []
      for (;;) {
        const message = await on.get(queue, { noAck: true })
        if (message === false) return jobs
        jobs.push(...decodeJobs(message.content))
      }
    },
    async drain(queue, onJob) {
      const { url, socket } = amqpOptions(config)
      const model = await connect(url, socket)
      model.on('error', () => {})
      const on = await model.createChannel()
      on.on('error', () => {})
      await on.prefetch(200)
      const jobs: ScanJob[] = []
      await on.consume(queue, (message) => {
        if (message === null) return
        for (const job of decodeJobs(message.content)) {
          jobs.push(job)
          void onJob?.(job)
        }
        on.ack(message)
      })
      return { jobs, end: () => model.close().catch(() => {}) }
    },
    async facts() {
      const answer = await request(`http://127.0.0.1:${port}/readyz`)
      return (await answer.body.json()) as Facts
    },
    async metric(name) {
      const text = await (await request(`http://127.0.0.1:${port}/metrics`)).body.text()
      const lines = text.split('\n').filter((line) => line.startsWith(name))
      return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
    },
    async close() {
      await child?.kill()
      await admin?.close().catch(() => {})
      store.close()
      await server.kill()
    },
  }
  return bench
}
