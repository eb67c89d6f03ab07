// One real worker between a real broker, a real store and a real clamd, each of the test's own, and what is seen of it from outside.
import { connect, type ChannelModel, type ConfirmChannel, type ConsumeMessage } from 'amqplib'
import { join } from 'node:path'
import { request } from 'undici'
import { amqpOptions } from '../../services/shared/broker.ts'
import { loadConfig } from '../../services/shared/config.ts'
import type { ScanJob } from '../../services/shared/messages.ts'
import { names, signaturesUpdatedKey } from '../../services/shared/topology.ts'
import { eventually } from './eventually.ts'
import { startClamd, type RealClamd } from './real-clamd.ts'
import { firstStore, startStore, type RealStore, type StoreFlavour } from './real-store.ts'
import { runInit } from './run-init.ts'
import { freePorts, startProcess, testFolder, type TestProcess } from './test-process.ts'
import { startTlsRabbitmq } from './tls-rabbitmq.ts'
import { createUploader, type Uploader } from './uploader.ts'

const main = new URL('../../services/avscan/main.ts', import.meta.url).pathname
const bucket = 'storagebucket'
const secret = (name: string) => `${name}0123456789abcdef01234567`

export interface Told {
  routingKey: string
  messageId: string
  body: {
    type: string
    data: {
      s3ObjectDetails?: { objectKey: string; versionId?: string }
      scan?: { engines: { name: string }[]; signatureVersion: string }
      scanResultDetails?: { detail?: string }
      signatureVersion?: string
      since?: string
    }
  }
}

export interface WorkerBench {
  readonly clamd: RealClamd
  readonly uploader: Uploader
  /** As the store's administrator, whom no policy stops. */
  readonly root: Uploader
  readonly storeUrl: string
  /** PEM file with the store's CA. */
  readonly caFile: string
  /** Puts a job on the live lane. */
  publishJob(job: ScanJob): Promise<void>
  /** Everything published to avscan.verdicts, and what was asked of the reconciler; in order. */
  readonly told: Told[]
  readonly worker: TestProcess
  /** A new worker with these settings; resolves when it is ready or, with `anyhow`, when its health port answers. */
  begin(env?: Record<string, string>, anyhow?: 'anyhow'): Promise<void>
  ready(): Promise<{
    status: number
    reasons: string[]
    unusableBuckets: Record<string, string>
  }>
  metric(line: RegExp): Promise<number | undefined>
  deadLetters(): Promise<number>
  /** Lines that the worker has logged at info or above, by message. */
  logged(message: string): number
  /** The verdict told about an object. */
  verdict(key: string): Promise<Told>
  close(): Promise<void>
}

/** `retry.scale` is 0.005: delays of 5, 50, 300 and 3000 ms. */
export async function workerBench(
  flavour: StoreFlavour = firstStore,
  { objectLock = false }: { objectLock?: boolean } = {},
): Promise<WorkerBench> {
  const broker = await startTlsRabbitmq()
  const vhost = await broker.addVhost()
  const clamd = await startClamd({ maxObjectBytes: 8_000_000 })
  const base = {
    ...broker.env({ vhost }),
    RABBITMQ_DEFAULT_PASS: broker.adminPassword,
    RABBITMQ_REGULAR_USER_PASS: secret('store'),
    AVSCAN_BROKER_USER: 'avscan',
    AVSCAN_BROKER_PASSWORD: secret('avscan'),
    NOTIFIER_BROKER_PASSWORD: secret('notifier'),
    RECONCILER_BROKER_PASSWORD: secret('reconciler'),
    STORE_AUDIT_BROKER_PASSWORD: secret('store-audit'),
    RECONCILER_STORE_PASSWORD: secret('reconciler'),
    MINIO_USER_PASSWORD: secret('upload'),
    AVSCAN_STORE_USER: 'avscan',
    AVSCAN_STORE_PASSWORD: secret('avscan'),
    CANARY_STORE_PASSWORD: secret('canary'),
    RETRY_SCALE: '0.005',
  }
  await prepare('broker', base)
  const store: RealStore = await startStore({ flavour, broker, vhost })
  const env: Record<string, string> = {
    ...base,
    ...store.env(),
    PROOF_KEY: secret('proof-proof-proof'),
    CLAMD_SOCKET: clamd.socket,
    MAX_OBJECT_BYTES: '8000000',
    LOG_FORMAT: 'json',
  }
  const place = { endpoint: store.url, caFile: env['TLS_CA'] ?? '', region: store.region, bucket }
  const root = createUploader({
    ...place,
    accessKey: store.rootUser,
    secretKey: store.rootPassword,
  })
  // Later MinIO does not turn it on any more.
  if (objectLock) await root.client.makeBucket(bucket, store.region, { ObjectLocking: true })
  await prepare('object-store', env)
  const uploader = createUploader({
    ...place,
    accessKey: 'miniouser',
    secretKey: secret('upload'),
  })
  const { adminUser, adminPassword } = broker
  const adminEnv = { ADMIN_BROKER_USER: adminUser, ADMIN_BROKER_PASSWORD: adminPassword }
  const options = amqpOptions(loadConfig({ service: 'admin', env: { ...env, ...adminEnv } }))
  const admin: ChannelModel = await connect(options.url, options.socket)
  const channel: ConfirmChannel = await admin.createConfirmChannel()
  const told: Told[] = []
  const take = (message: ConsumeMessage | null) => {
    if (message === null) return
    const { routingKey } = message.fields
    const messageId = String(message.properties.messageId)
    told.push({ routingKey, messageId, body: JSON.parse(message.content.toString()) as never })
  }
  const { queue } = await channel.assertQueue('', { exclusive: true })
  for (const key of ['verdict.#', signaturesUpdatedKey])
    await channel.bindQueue(queue, names.verdicts, key)
  await channel.bindQueue(queue, names.jobs, names.reconcile)
  await channel.consume(queue, take, { noAck: true })

  let worker: TestProcess | undefined
  let port = 0
  const bench: WorkerBench = {
    clamd,
    uploader,
    root,
    storeUrl: store.url,
    caFile: place.caFile,
    told,
    async publishJob({ object, trigger }) {
      const body = Buffer.from(JSON.stringify({ objects: [object], trigger }))
      channel.publish(names.jobs, 's3minioqueue', body, { persistent: true })
      await channel.waitForConfirms()
    },
    get worker() {
      if (worker === undefined) throw new Error('begin first')
      return worker
    },
    async begin(extra = {}, anyhow) {
      await worker?.kill()
      told.splice(0)
      const folder = testFolder('worker')
      ;[port = 0] = await freePorts(1)
      worker = startProcess({
        command: [process.execPath, main],
        folder,
        name: 'avscan',
        env: { ...env, HTTP_PORT: String(port), SCAN_FOLDER: join(folder, 'scan'), ...extra },
      })
      await eventually(
        async () => {
          const { status } = await bench.ready()
          return anyhow === 'anyhow' || status === 200
        },
        { timeoutMs: 30_000 },
      )
      // What it asks its engine at its start would be the work of a worker that is meant to be idle.
      if (anyhow !== 'anyhow')
        await eventually(() => bench.logged('asked the engine which containers it opens') > 0, {
          timeoutMs: 30_000,
        })
    },
    async ready() {
      const answer = await request(`http://127.0.0.1:${port}/readyz`)
      const said = (await answer.body.json()) as Awaited<ReturnType<WorkerBench['ready']>>
      return { ...said, status: answer.statusCode }
    },
    async metric(line) {
      const text = await (await request(`http://127.0.0.1:${port}/metrics`)).body.text()
      const found = text.split('\n').find((one) => line.test(one))
      return found === undefined ? undefined : Number(found.split(' ').at(-1))
    },
    deadLetters: async () => (await channel.checkQueue(names.dead)).messageCount,
    logged: (message) => bench.worker.log().split(`"message":"${message}"`).length - 1,
    verdict: (key) =>
      eventually(
        () => {
          const found = told.findLast(({ body }) => body.data.s3ObjectDetails?.objectKey === key)
          if (found === undefined) throw new Error(`no verdict of ${key}`)
          return found
        },
        { timeoutMs: 30_000 },
      ),
    async close() {
      await worker?.kill()
      await admin.close()
      uploader.close()
      root.close()
      await clamd.close()
      await store.kill()
    },
  }
  return bench
}

async function prepare(what: string, env: Record<string, string>): Promise<void> {
  const outcome = await runInit([what], env)
  if (outcome.code !== 0) throw new Error(`init ${what}: ${outcome.stdout}`)
}
