// The receiver of the audit log as a process, with a real MinIO and a real broker: no way of forging an object's identity goes
// untold, and what the log loses is known.
import { expect } from 'chai'
import { randomUUID } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { Agent } from 'node:https'
import { join } from 'node:path'
import { Client } from 'minio'
import { Agent as UndiciAgent, request } from 'undici'
import { eventually } from '../support/eventually.ts'
import { etagOf, ways, type Forger } from '../support/forged-writes.ts'
import { noMinio, startStore, type RealStore } from '../support/real-store.ts'
import { runInit } from '../support/run-init.ts'
import { freePorts, startProcess, testFolder, type TestProcess } from '../support/test-process.ts'
import { noTlsRabbitmq, startTlsRabbitmq, type TlsRabbitmq } from '../support/tls-rabbitmq.ts'

const secret = (name: string) => `${name}0123456789abcdef01234567`
const bucket = 'storagebucket'
const main = new URL('../../services/store-audit/main.ts', import.meta.url).pathname
const token = secret('audit-token-')
/** Small, so that a test can fill it. */
const queueSize = 30

interface Job {
  objects?: { bucket: string; key: string; versionId?: string }[]
  trigger?: { kind: string; id: string; after: string }
  Records?: { eventTime: string; s3: { object: { key: string; versionId?: string } } }[]
}

interface Sweep {
  type: string
  data: { id: string; reason: string; after: string }
}

const forged = (key: string) => {
  const body = Buffer.from(`forged ${key}`)
  return { key, body, version: randomUUID(), etag: etagOf(Buffer.from('harmless')) }
}

describe('the audit receiver with MinIO', function () {
  this.timeout(180_000)
  let broker: TlsRabbitmq
  let store: RealStore
  let vhost: string
  let env: Record<string, string>
  let folder: string
  let port: number
  let healthPort: number
  let receiver: TestProcess
  let root: Forger
  let uploader: Forger
  const jobs: Job[] = []
  const sweeps: Sweep[] = []

  const client = (accessKey: string, secretKey: string): Forger => ({
    bucket,
    ca: readFileSync(store.certs.ca, 'utf8'),
    client: new Client({
      endPoint: '127.0.0.1',
      port: store.port,
      useSSL: true,
      region: store.region,
      accessKey,
      secretKey,
      pathStyle: true,
      transportAgent: new Agent({ ca: readFileSync(store.certs.ca) }),
      retryOptions: { disableRetry: true },
    }),
  })

  const ready = async () => {
    const answer = await request(`http://127.0.0.1:${healthPort}/readyz`)
    return { status: answer.statusCode, said: await answer.body.text() }
  }
  const start = async () => {
    receiver = startProcess({ command: [process.execPath, main], folder, name: 'receiver', env })
    await eventually(async () => expect((await ready()).status).to.equal(200), {
      timeoutMs: 20_000,
    })
  }

  const take = async (queue: string) =>
    (
      (await broker.api('POST', `/queues/${vhost}/${queue}/get`, {
        count: 1000,
        ackmode: 'ack_requeue_false',
        encoding: 'auto',
      })) as { payload: string }[]
    ).map(({ payload }) => JSON.parse(payload) as unknown)

  /** Until `done` finds what it looks for among all that came so far. */
  const until = <T>(done: () => T) =>
    eventually(
      async () => {
        jobs.push(...((await take('s3minioqueue')) as Job[]))
        sweeps.push(...((await take('avscan.reconcile')) as Sweep[]))
        return done()
      },
      { timeoutMs: 40_000, everyMs: 100 },
    )

  before(async function () {
    const why = noTlsRabbitmq ?? noMinio
    if (why !== undefined) {
      console.log(`      skipped: ${why}`)
      this.skip()
    }
    broker = await startTlsRabbitmq()
    vhost = await broker.addVhost()
    folder = testFolder('store-audit')
    ;[port = 0, healthPort = 0] = await freePorts(2)
    const { certificate, key } = broker.certs.server('store-audit')
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
      INIT_TIMEOUT: '20',
      STORE_AUDIT_PORT: String(port),
      STORE_AUDIT_TOKEN: token,
      STORE_AUDIT_CERT: certificate,
      STORE_AUDIT_KEY: key,
      STORE_AUDIT_FOLDER: folder,
      STORE_AUDIT_QUEUE_SIZE: String(queueSize),
      STORE_AUDIT_BROKER_USER: 'store-audit',
      HTTP_PORT: String(healthPort),
      RETRY_SCALE: '0.02',
    }
    const made = await runInit(['broker'], env)
    expect(made.code, made.stdout).to.equal(0)
    store = await startStore({
      flavour: 'minio',
      broker,
      vhost,
      brokerUser: 'rabbituser',
      brokerPassword: secret('store'),
      audit: { endpoint: `https://127.0.0.1:${port}/`, token, queueSize },
    })
    Object.assign(env, store.env())
    const prepared = await runInit(['object-store'], env)
    expect(prepared.code, prepared.stdout).to.equal(0)
    root = client(store.rootUser, store.rootPassword)
    uploader = client('miniouser', secret('uploader'))
    await start()
  })
  after(async () => {
    await receiver?.kill()
  })

  it('has everything judged again that is older than its first start', async () => {
    const [first] = await until(() => {
      expect(sweeps).to.have.length.greaterThan(0)
      return sweeps
    })

    expect(first?.type).to.equal('sweep.requested')
    expect(Date.parse(first?.data.after ?? '')).to.be.closeTo(Date.now(), 60_000)
  })

  for (const [index, way] of ways.entries())
    it(`hears of a forged identity by ${way.name}`, async () => {
      const one = forged(`ways/${index} ö.txt`)
      const begun = Date.now()

      await way.write(root, one)

      const written = Date.now()
      if (way.event) {
        const event = await until(() => {
          const found = jobs
            .flatMap(({ Records = [] }) => Records)
            .find(({ s3 }) => decodeURIComponent(s3.object.key.replaceAll('+', ' ')) === one.key)
          expect(found, 'an event').not.to.equal(undefined)
          return found
        })
        expect(Date.parse(event?.eventTime ?? '')).to.be.closeTo(written, 2000)
      }
      if (way.named) {
        const job = await until(() => {
          const found = jobs.find(({ objects }) => objects?.[0]?.key === one.key)
          expect(found, 'a verify job').not.to.equal(undefined)
          return found
        })
        const stat = await root.client.statObject(bucket, one.key)
        expect(job?.objects).to.deep.equal([{ bucket, key: one.key, versionId: stat.versionId }])
        expect(job?.trigger).to.include({ kind: 'verify', id: 'audit' })
        expect(Date.parse(job?.trigger?.after ?? '')).to.be.closeTo(written, 2000)
      } else if (!way.event)
        await until(() => {
          const found = sweeps.filter(({ data }) => Date.parse(data.after) > begun)
          const reasons = found.map(({ data }) => data.reason)
          expect(reasons).to.include('writes that the audit log does not name')
        })
    })

  it('says who did it, from where and how', () => {
    const lines = receiver
      .log()
      .split('\n')
      .filter((line) => line.includes('whose identity the uploader chose'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)

    expect(lines[0]).to.include({
      level: 'warn',
      accessKey: store.rootUser,
      remoteHost: '127.0.0.1',
      bucket,
      key: 'ways/0 ö.txt',
    })
    expect(lines[0]?.['signs']).to.deep.equal(['versionId'])
  })

  for (const [index, way] of ways.entries())
    it(`${way.refused ? 'the store refuses an uploader' : 'the store cannot refuse an uploader'} ${way.name}`, async () => {
      const one = forged(`uploader/${index}`)
      const outcome = await way.write(uploader, one).then(
        () => 'written',
        (error: unknown) => (error as { code?: string }).code ?? String(error),
      )
      expect(outcome).to.equal(way.refused ? 'AccessDenied' : 'written')
    })

  it('makes no job of what applications do every day', async () => {
    const { client: s3 } = uploader
    const begun = jobs.length
    const { versionId } = await s3.putObject(bucket, 'plain', Buffer.from('1'))
    await s3.putObject(bucket, 'large', Buffer.alloc(6 * 2 ** 20), 6 * 2 ** 20)
    await s3.copyObject(bucket, 'copy', `/${bucket}/plain`)
    await s3.statObject(bucket, 'plain', { versionId: versionId ?? '' })
    await s3.removeObject(bucket, 'plain', { versionId: versionId ?? '' })
    const last = forged('last')
    await ways[4]?.write(uploader, last)

    await until(() => {
      expect(jobs.some(({ objects }) => objects?.[0]?.key === 'last')).to.equal(true)
    })
    const keys = jobs.slice(begun).flatMap(({ objects = [] }) => objects.map(({ key }) => key))
    expect(keys.filter((key) => !key.startsWith('uploader/'))).to.deep.equal(['last'])
  })

  it('refuses whoever has no token, and whatever is no POST', async () => {
    const dispatcher = new UndiciAgent({ connect: { ca: root.ca } })
    const ask = async (method: 'GET' | 'POST', authorization: string) => {
      const url = `https://127.0.0.1:${port}/`
      const answer = await request(url, {
        method,
        dispatcher,
        headers: { authorization },
        ...(method === 'POST' ? { body: '{}' } : {}),
      })
      await answer.body.dump()
      return answer.statusCode
    }
    try {
      expect(await ask('POST', '')).to.equal(401)
      expect(await ask('POST', `Bearer ${token}x`)).to.equal(401)
      expect(await ask('GET', `Bearer ${token}`)).to.equal(405)
    } finally {
      await dispatcher.close()
    }
  })

  it('gets what was written while it was away, from the queue of the store', async () => {
    await receiver.kill()
    const one = forged('while away')
    await ways[1]?.write(root, one)
    await start()

    const job = await until(() => {
      const found = jobs.find(({ objects }) => objects?.[0]?.key === one.key)
      expect(found, 'a verify job').not.to.equal(undefined)
      return found
    })
    expect(job?.objects?.[0]?.versionId).to.equal(one.version)
  })

  it('has everything judged again when it was away for longer than the queue holds', async () => {
    await receiver.kill()
    const begun = Date.now()
    // A file a second; the store then says that its queue is full.
    await eventually(
      async () => {
        await Promise.all(Array.from({ length: 30 }, () => root.client.bucketExists(bucket)))
        expect(store.log()).to.include('maximum store limit reached')
      },
      { timeoutMs: 60_000, everyMs: 200 },
    )
    await start()

    const sweep = await until(() => {
      const found = sweeps.find(({ data }) => Date.parse(data.after) > begun)
      expect(found, 'a sweep').not.to.equal(undefined)
      return found
    })
    expect(sweep?.data.reason).to.match(/queue of the audit log was full|gap/)
  })

  it('forgets what it knew when it is switched off', async () => {
    await receiver.kill()
    const off = startProcess({
      command: [process.execPath, main],
      folder,
      name: 'off',
      env: { ...env, STORE_AUDIT: 'off' },
    })
    try {
      await eventually(async () => expect((await ready()).said).to.include('"audit":"off"'), {
        timeoutMs: 20_000,
      })
      expect(() => readFileSync(join(folder, 'state.json'))).to.throw('ENOENT')
    } finally {
      await off.kill()
    }
    rmSync(join(folder, 'off.log'))
  })
})
