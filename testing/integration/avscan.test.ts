// The real worker between a real broker, store and clamd, when one of them is away, full or handed nonsense.
import { expect } from 'chai'
import { connect, type ChannelModel, type ConfirmChannel } from 'amqplib'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { request } from 'undici'
import { fixtureOf } from '../../services/avscan/formats/fixtures.ts'
import { readLetter } from '../../services/reconciler/letter.ts'
import { publicationOf } from '../../services/reconciler/replay.ts'
import { loadConfig } from '../../services/shared/config.ts'
import { amqpOptions } from '../../services/shared/broker.ts'
import { eventually } from '../support/eventually.ts'
import { noClamd, startClamd, type RealClamd } from '../support/real-clamd.ts'
import { firstStore, startStore, type RealStore } from '../support/real-store.ts'
import { runInit } from '../support/run-init.ts'
import { samples } from '../support/samples.ts'
import { freePorts, startProcess, testFolder, type TestProcess } from '../support/test-process.ts'
import { noTlsRabbitmq, startTlsRabbitmq } from '../support/tls-rabbitmq.ts'
import { createUploader, type Uploader } from '../support/uploader.ts'

const main = new URL('../../services/avscan/main.ts', import.meta.url).pathname
const bucket = 'storagebucket'
const secret = (name: string) => `${name}0123456789abcdef01234567`

describe('avscan between real servers', function () {
  this.timeout(120_000)
  let clamd: RealClamd
  let store: RealStore
  let uploader: Uploader
  let env: Record<string, string>
  let worker: TestProcess | undefined
  let port = 0
  let admin: ChannelModel
  let channel: ConfirmChannel
  let folder = ''
  let counter = 0

  before(async function () {
    const why = noTlsRabbitmq ?? noClamd
    if (why !== undefined) {
      console.log(`      skipped: ${why}`)
      this.skip()
    }
    const broker = await startTlsRabbitmq()
    const vhost = await broker.addVhost()
    clamd = await startClamd({ maxObjectBytes: 8_000_000 })
    const secrets = {
      RABBITMQ_DEFAULT_PASS: broker.adminPassword,
      RABBITMQ_REGULAR_USER_PASS: secret('store'),
      AVSCAN_BROKER_PASSWORD: secret('avscan'),
      NOTIFIER_BROKER_PASSWORD: secret('notifier'),
      RECONCILER_BROKER_PASSWORD: secret('reconciler'),
      STORE_AUDIT_BROKER_PASSWORD: secret('store-audit'),
      MINIO_USER_PASSWORD: secret('upload'),
      AVSCAN_STORE_USER: 'avscan',
      AVSCAN_STORE_PASSWORD: secret('avscan'),
      RECONCILER_STORE_PASSWORD: secret('reconciler'),
      CANARY_STORE_PASSWORD: secret('canary'),
    }
    const base = { ...broker.env({ vhost }), ...secrets, RETRY_SCALE: '0.005' }
    const declared = await runInit(['broker'], base)
    expect(declared.code, declared.stdout).to.equal(0)
    store = await startStore({ flavour: firstStore, broker, vhost })
    env = {
      ...base,
      ...store.env(),
      AVSCAN_BROKER_USER: 'avscan',
      PROOF_KEY: secret('proof-proof-proof'),
      CLAMD_SOCKET: clamd.socket,
      MAX_OBJECT_BYTES: '8000000',
      LOG_FORMAT: 'json',
    }
    const prepared = await runInit(['object-store'], env)
    expect(prepared.code, prepared.stdout).to.equal(0)
    uploader = createUploader({
      endpoint: store.url,
      caFile: env['TLS_CA'] ?? '',
      region: store.region,
      bucket,
      accessKey: 'miniouser',
      secretKey: secret('upload'),
    })
    const config = loadConfig({
      service: 'admin',
      env: {
        ...env,
        ADMIN_BROKER_USER: broker.adminUser,
        ADMIN_BROKER_PASSWORD: broker.adminPassword,
      },
    })
    const { url, socket } = amqpOptions(config)
    admin = await connect(url, socket)
    channel = await admin.createConfirmChannel()
  })
  after(async function () {
    await worker?.kill()
    await admin?.close()
    uploader?.close()
    await clamd?.close()
    await store?.kill()
  })

  /** A worker of its own; resolves when its health port answers. */
  const begin = async (extra: Record<string, string> = {}) => {
    await worker?.kill()
    folder = testFolder('avscan')
    ;[port = 0] = await freePorts(1)
    worker = startProcess({
      command: [process.execPath, main],
      folder,
      name: 'avscan',
      env: { ...env, HTTP_PORT: String(port), SCAN_FOLDER: join(folder, 'scan'), ...extra },
    })
    await eventually(() => ready(), { timeoutMs: 20_000 })
  }
  const ready = async () => {
    const answer = await request(`http://127.0.0.1:${port}/readyz`)
    const { reasons } = (await answer.body.json()) as { reasons: string[] }
    return { status: answer.statusCode, reasons }
  }
  const isReady = () =>
    eventually(async () => (await ready()).status === 200, { timeoutMs: 30_000 })
  const metric = async (name: string) => {
    const text = await (await request(`http://127.0.0.1:${port}/metrics`)).body.text()
    const lines = text.split('\n').filter((line) => line.startsWith(name))
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }
  const put = (bytes: Buffer, name = 'object') => uploader.put(`${name}-${++counter}`, bytes)
  const publish = async (body: string) => {
    channel.publish('s3minioscan', 'bucket_notifications', Buffer.from(body), { persistent: true })
    await channel.waitForConfirms()
  }
  const dead = () =>
    eventually(async () => {
      const message = await channel.get('avscan.dead', { noAck: true })
      if (message === false) throw new Error('no dead letter')
      return message
    })

  it('waits for a clamd that is not there at its start, says so, and works when it comes', async () => {
    await clamd.kill()
    await begin()
    await eventually(async () => (await ready()).reasons.some((reason) => /clamd/.test(reason)))
    const waiting = await ready()
    const object = await put(samples.eicar())

    await clamd.start()

    expect(waiting.status).to.equal(503)
    expect(waiting.reasons.join()).to.match(/ENOENT|ECONNREFUSED/)
    await uploader.awaitDeleted(object)
    await isReady()
    expect(worker?.log()).to.include('the engine cannot be used')
  })

  for (const [title, body, reason] of [
    ['what is not JSON', '\u0000\u0001 nonsense', /not JSON/],
    ['foreign JSON', '{"hello":"world"}', /neither a bucket notification/],
    [
      'an event without a bucket',
      '{"Records":[{"eventName":"ObjectCreated:Put","s3":{"object":{"key":"x"}}}]}',
      /bucket/,
    ],
  ] as const) {
    it(`puts ${title} into avscan.dead with the reason and goes on`, async () => {
      await begin()

      await publish(body)
      const letter = await dead()
      const next = await put(samples.clean())

      expect(letter.content.toString()).to.equal(body)
      expect(String(letter.properties.headers?.['avscan-error'])).to.match(reason)
      expect(letter.properties.headers).to.include({
        'avscan-origin': 's3minioqueue',
        'avscan-reason': 'DiscardError',
      })
      expect((await uploader.awaitTag(next))['scanned']).to.equal('clean')
    })
  }

  it('acks and counts an event for a key that is gone', async () => {
    await begin()
    await isReady()

    await publish(
      JSON.stringify({
        Records: [
          {
            eventName: 's3:ObjectCreated:Put',
            s3: { bucket: { name: bucket }, object: { key: 'never-was', eTag: 'x' } },
          },
        ],
      }),
    )

    await eventually(async () => (await metric('avscan_jobs_dropped_total{why="gone"}')) === 1)
    expect((await channel.checkQueue('avscan.dead')).messageCount).to.equal(0)
  })

  it('takes no job in our own words from the exchange of the events, not even after a replay', async () => {
    await begin()
    await isReady()
    const object = await put(samples.eicar(), 'forged')
    await uploader.awaitDeleted(object)
    const { key, versionId } = object
    const forged = {
      objects: [{ bucket, key, versionId, previous: 'infected' }],
      trigger: { kind: 'rescan', id: '0' },
    }

    await publish(JSON.stringify(forged))
    const letter = await dead()
    const replayed = publicationOf(readLetter(letter, 's3minioscan'), 's3minioqueue')
    channel.publish(replayed.exchange, replayed.routingKey, replayed.body, {
      headers: replayed.headers,
    })
    const again = await dead()

    for (const { properties } of [letter, again])
      expect(properties.headers?.['avscan-error']).to.include('only the store may publish')
  })

  it('asks the engine at its start what it opens, and calls nothing else clean', async () => {
    await begin()
    await isReady()
    const [plain, package_, letter] = await Promise.all([
      put(samples.clean()),
      put(fixtureOf('deb') as Buffer),
      put(readFileSync(new URL('../fixtures/everyday/letter.docx', import.meta.url))),
    ])

    expect((await uploader.awaitTag(plain))['scanned']).to.equal('clean')
    expect((await uploader.awaitTag(package_))['scanned']).to.equal('no')
    expect((await uploader.awaitTag(letter))['scanned']).to.equal('clean')
    const { body } = await request(`http://127.0.0.1:${port}/metrics`)
    expect(await body.text()).to.contain('avscan_unscannable_total{reason="105",format="deb"} 1')
    await eventually(() => {
      const log = worker?.log() ?? ''
      return log.includes('asked the engine which containers it opens')
    })
  })

  it('burns no attempt while clamd is away, and judges all that came meanwhile', async () => {
    // With what it asks about containers it may have failed five times, and then it is left alone for a while.
    await begin({ ENGINE_BREAKER_OPEN_MS: '1000' })
    await isReady()
    await clamd.kill()
    const objects = await Promise.all([
      put(samples.eicar()),
      put(samples.clean()),
      put(samples.eicar()),
      put(samples.clean()),
    ])
    await eventually(async () => (await ready()).status === 503)

    await clamd.start()

    for (const [index, object] of objects.entries()) {
      if (index % 2 === 0) await uploader.awaitDeleted(object)
      else expect((await uploader.awaitTag(object))['scanned']).to.equal('clean')
    }
    await isReady()
    expect((await channel.checkQueue('avscan.dead')).messageCount).to.equal(0)
  })

  it('waits while the scan folder is full, and goes on when there is room', async function () {
    const scan = join(testFolder('full'), 'scan')
    mkdirSync(scan, { recursive: true })
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=700', 'tmpfs', scan], {
        stdio: 'ignore',
      })
    } catch {
      console.log('      skipped: a small file system cannot be mounted here')
      this.skip()
    }
    try {
      const ballast = join(scan, 'ballast')
      writeFileSync(ballast, Buffer.alloc(3_500_000))
      await begin({ SCAN_FOLDER: scan })
      const object = await put(samples.large(2_000_000, samples.eicar()))
      await eventually(
        async () => (await ready()).reasons.some((reason) => /scan folder/.test(reason)),
        { timeoutMs: 20_000 },
      )

      rmSync(ballast)

      await uploader.awaitDeleted(object)
      expect((await channel.checkQueue('avscan.dead')).messageCount).to.equal(0)
    } finally {
      await worker?.kill()
      execFileSync('umount', ['-l', scan])
    }
  })

  it('leaves nothing in its scan folder after a kill -9 and a new start', async () => {
    await begin()
    await isReady()
    const scan = join(folder, 'scan')
    await put(samples.large(7_000_000))
    await worker?.kill()
    const before = existsSync(scan) ? readdirSync(scan).length : 0

    await begin({ SCAN_FOLDER: scan })
    await isReady()

    expect(before).to.be.greaterThan(0)
    const own = readdirSync(scan).filter((name) => !name.endsWith('.lock'))
    expect(own).to.have.length(1)
    await eventually(() => readdirSync(join(scan, own[0] ?? '')).length === 0, {
      timeoutMs: 20_000,
    })
  })

  for (const [title, extra, words] of [
    [
      'a wrong store password',
      { AVSCAN_STORE_PASSWORD: 'wrong-wrong-wrong' },
      /SignatureDoesNotMatch.*init object-store/,
    ],
    ['an unknown bucket', { MINIO_BUCKET_NAME: 'nowhere-bucket' }, /nowhere-bucket/],
    [
      'a wrong broker password',
      { AVSCAN_BROKER_PASSWORD: 'wrong' },
      /refuses the user "avscan".*init broker/,
    ],
    ['no CA', { TLS_CA: '' }, /TLS_CA/],
    ['a queue that is not there', { RABBITMQ_QUEUE_NAME: 'nowhere' }, /nowhere.*init broker/],
    [
      'a configuration with two mistakes',
      { RABBITMQ_PORT: '15672', ENGINE: 'guess' },
      /15672[^]*guess|guess[^]*15672/,
    ],
  ] as const) {
    it(`ends with 1 and one clear sentence for ${title}`, async () => {
      await worker?.kill()
      const own = testFolder('avscan')
      const ended = startProcess({
        command: [process.execPath, main],
        folder: own,
        name: 'avscan',
        env: {
          ...env,
          LOG_FORMAT: 'text',
          HTTP_PORT: '0',
          SCAN_FOLDER: join(own, 'scan'),
          ...extra,
        },
      })

      await eventually(() => !ended.running, { timeoutMs: 30_000 })

      expect(ended.log()).to.match(words)
      expect(ended.log()).to.not.include('    at ')
      for (const value of [secret('avscan'), secret('proof-proof-proof')])
        expect(ended.log()).to.not.include(value)
    })
  }
})
