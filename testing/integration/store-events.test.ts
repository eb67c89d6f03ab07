// The two event targets of a real MinIO: each upload's event comes to the work queue at once and, kept on disk until the broker has
// it, to the spool lane.
import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { Client } from 'minio'
import { loadConfig } from '../../services/shared/config.ts'
import { decodeJobs } from '../../services/shared/messages.ts'
import { spoolHoldQueue } from '../../services/shared/topology.ts'
import { eventually } from '../support/eventually.ts'
import { noMinio, startStore, type RealStore } from '../support/real-store.ts'
import { runInit } from '../support/run-init.ts'
import { noTlsRabbitmq, startOwnTlsRabbitmq, type TlsRabbitmq } from '../support/tls-rabbitmq.ts'

const secret = (name: string) => `${name}0123456789abcdef01234567`
const bucket = 'storagebucket'
const fast = 'arn:minio:sqs:eu-west-1:FAST:amqp'
const spool = 'arn:minio:sqs:eu-west-1:SPOOL:amqp'
const liveQueue = 's3minioqueue'

describe('event targets of MinIO', function () {
  this.timeout(180_000)
  let broker: TlsRabbitmq
  let store: RealStore
  let vhost: string
  let env: Record<string, string>
  let root: Client
  let holdQueue: string

  before(async function () {
    const why = noTlsRabbitmq ?? noMinio
    if (why !== undefined) {
      console.log(`      skipped: ${why}`)
      this.skip()
    }
    broker = await startOwnTlsRabbitmq()
    vhost = await broker.addVhost()
    env = {
      ...broker.env({ vhost }),
      RABBITMQ_DEFAULT_PASS: broker.adminPassword,
      RABBITMQ_REGULAR_USER_PASS: secret('store'),
      AVSCAN_BROKER_PASSWORD: secret('avscan'),
      NOTIFIER_BROKER_PASSWORD: secret('notifier'),
      RECONCILER_BROKER_PASSWORD: secret('reconciler'),
      STORE_AUDIT_BROKER_PASSWORD: secret('store-audit'),
      MINIO_USER_PASSWORD: secret('uploader'),
      AVSCAN_STORE_PASSWORD: secret('avscan'),
      RECONCILER_STORE_PASSWORD: secret('reconciler'),
      CANARY_STORE_PASSWORD: secret('canary'),
      // What is held stays where the test looks for it.
      RECONCILE_AFTER_MS: '3600000',
      INIT_TIMEOUT: '20',
    }
    holdQueue = spoolHoldQueue(loadConfig({ service: 'init', env }))
    const made = await runInit(['broker'], env)
    expect(made.code, made.stdout).to.equal(0)
    store = await startStore({
      flavour: 'minio',
      broker,
      vhost,
      brokerUser: 'rabbituser',
      brokerPassword: secret('store'),
    })
    Object.assign(env, store.env())
    root = new Client({
      endPoint: '127.0.0.1',
      port: store.port,
      useSSL: true,
      region: store.region,
      accessKey: store.rootUser,
      secretKey: store.rootPassword,
      pathStyle: true,
      transportAgent: new Agent({ ca: readFileSync(store.certs.ca) }),
      retryOptions: { disableRetry: true },
    })
    const ready = await runInit(['object-store'], env)
    expect(ready.code, ready.stdout).to.equal(0)
  })

  /** Keys of the events that are in the queue; they are taken out of it. */
  const take = async (queue: string): Promise<string[]> => {
    const got = (await broker.api('POST', `/queues/${vhost}/${queue}/get`, {
      count: 1000,
      ackmode: 'ack_requeue_false',
      encoding: 'auto',
    })) as { payload: string }[]
    return got.flatMap(({ payload }) =>
      decodeJobs(Buffer.from(payload)).map(({ object }) => object.key),
    )
  }

  /** Takes until there are as many, and then until the queue gives no more. */
  const takeAll = async (queue: string, count: number): Promise<string[]> => {
    const keys: string[] = []
    await eventually(
      async () => {
        keys.push(...(await take(queue)))
        if (keys.length < count) throw new Error(`${queue} gave ${keys.length} events of ${count}`)
      },
      { timeoutMs: 60_000, everyMs: 100 },
    )
    keys.push(...(await take(queue)))
    return keys.toSorted()
  }

  const upload = async (count: number, prefix: string): Promise<string[]> => {
    const keys = Array.from({ length: count }, (_, index) => `${prefix}${index}`)
    for (const key of keys) await root.putObject(bucket, key, Buffer.from(key))
    return keys.toSorted()
  }

  it('bring one upload as one event to the work queue and as one to the spool lane', async () => {
    const keys = await upload(1, 'one/')

    expect(await takeAll(liveQueue, 1)).to.eql(keys)
    expect(await takeAll(holdQueue, 1)).to.eql(keys)
  })

  it('lose nothing on the spool lane while the broker is down', async () => {
    await broker.keepQueues()
    await broker.kill()
    const keys = await upload(100, 'down/')
    await broker.start()

    expect(await takeAll(holdQueue, keys.length)).to.eql(keys)
  })

  it('lose nothing on the spool lane when the store is killed meanwhile', async () => {
    await take(liveQueue)
    await broker.kill()
    const keys = await upload(100, 'both/')
    await store.kill()
    await broker.start()
    await store.start()

    expect(await takeAll(holdQueue, keys.length)).to.eql(keys)
  })

  it('get the second rule where an earlier version has made the first one only', async () => {
    const Event = ['Put', 'Post', 'Copy', 'CompleteMultipartUpload'].map(
      (kind) => `s3:ObjectCreated:${kind}`,
    )
    await root.setBucketNotification(bucket, {
      QueueConfiguration: [{ Queue: fast, Event }],
    } as never)

    const { code, lines, stdout } = await runInit(['object-store'], env)

    expect(code, stdout).to.equal(0)
    expect(lines).to.include(`notification rule of ${bucket} for FAST: already as wanted`)
    expect(lines).to.include(`notification rule of ${bucket} for SPOOL: created`)
    const { QueueConfiguration } = (await root.getBucketNotification(bucket)) as unknown as {
      QueueConfiguration: { Queue: string }[]
    }
    expect(QueueConfiguration.map(({ Queue }) => Queue).toSorted()).to.eql([fast, spool].toSorted())
  })
})
