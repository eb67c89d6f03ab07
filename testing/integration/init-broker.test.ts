// `init broker` against a real RabbitMQ: what it makes, that it does so once, what it refuses, and who may do what afterwards.
import { connect } from 'amqplib'
import { expect } from 'chai'
import { createServer as createTlsServer, type Server } from 'node:https'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAuthority, issueServer } from '../../services/init/x509.ts'
import { brokerUsers, type BrokerUser } from '../../services/init/broker-plan.ts'
import { passwordFits } from '../../services/init/broker.ts'
import { eventually } from '../support/eventually.ts'
import { runInit } from '../support/run-init.ts'
import { noTlsRabbitmq, startTlsRabbitmq, type TlsRabbitmq } from '../support/tls-rabbitmq.ts'
import { freePorts, testFolder } from '../support/test-process.ts'

const secret = (name: string) => `${name}0123456789abcdef0123456789abcdef`

const publish =
  (exchange: string, key: string) =>
  (channel: { publish(exchange: string, key: string, body: Buffer): boolean }) =>
    channel.publish(exchange, key, Buffer.from('x'))

describe('init broker', function () {
  this.timeout(120_000)
  let broker: TlsRabbitmq
  let vhost: string
  let env: Record<string, string>

  before(async function () {
    if (noTlsRabbitmq !== undefined) {
      console.log(`      skipped: ${noTlsRabbitmq}`)
      this.skip()
    }
    broker = await startTlsRabbitmq()
  })

  beforeEach(async () => {
    vhost = await broker.addVhost()
    env = {
      ...broker.env({ vhost }),
      RABBITMQ_DEFAULT_USER: broker.adminUser,
      RABBITMQ_DEFAULT_PASS: broker.adminPassword,
      RABBITMQ_REGULAR_USER_NAME: `${vhost}-store`,
      RABBITMQ_REGULAR_USER_PASS: secret('store'),
      AVSCAN_BROKER_USER: `${vhost}-avscan`,
      AVSCAN_BROKER_PASSWORD: secret('avscan'),
      NOTIFIER_BROKER_USER: `${vhost}-notifier`,
      NOTIFIER_BROKER_PASSWORD: secret('notifier'),
      RECONCILER_BROKER_USER: `${vhost}-reconciler`,
      RECONCILER_BROKER_PASSWORD: secret('reconciler'),
      STORE_AUDIT_BROKER_USER: `${vhost}-storeAudit`,
      STORE_AUDIT_BROKER_PASSWORD: secret('storeAudit'),
      INIT_TIMEOUT: '20',
    }
  })

  const open = (user: string, password: string) =>
    connect(
      {
        protocol: 'amqps',
        hostname: '127.0.0.1',
        port: broker.port,
        vhost,
        username: user,
        password,
      },
      { ca: [readFileSync(broker.certs.ca)] },
    )

  /** What the broker says to `act` on a channel of that user: `allowed`, or the refusal's code. */
  const tryAs = async (
    who: BrokerUser,
    act: (
      channel: Awaited<ReturnType<Awaited<ReturnType<typeof open>>['createConfirmChannel']>>,
    ) => unknown,
  ): Promise<string> => {
    const connection = await open(`${vhost}-${who}`, secret(who))
    connection.on('error', () => {})
    const channel = await connection.createConfirmChannel()
    const refused = new Promise<string>((done) => {
      channel.on('error', (error: Error & { code?: number }) => done(String(error.code)))
    })
    try {
      const allowed = (async () => {
        await act(channel)
        await channel.waitForConfirms()
        return 'allowed'
      })()
      return await Promise.race([refused, allowed.catch(() => refused)])
    } finally {
      await connection.close().catch(() => {})
    }
  }
  const lastOf = async (changed: Record<string, string>) => {
    const run = await runInit(['broker'], { ...env, ...changed })
    expect(run.code, run.stdout).to.equal(1)
    expect(run.hint).to.be.a('string')
    expect(run.stdout).not.to.include(broker.adminPassword)
    return run.lines.at(-1) ?? ''
  }

  it('creates everything, and the second run finds everything as wanted', async () => {
    const first = await runInit(['broker'], env)
    const second = await runInit(['broker'], env)

    expect(first.code, first.stdout).to.equal(0)
    expect(first.lines).to.include('queue s3minioqueue: created')
    expect(first.lines).to.include('exchange s3minioscan: created')
    expect(first.lines.at(-1)).to.equal('broker: done')
    expect(second.code).to.equal(0)
    expect(
      second.lines.slice(0, -1).filter((line) => !line.endsWith(': already as wanted')),
    ).to.eql([])
    expect(second.lines).to.have.length(first.lines.length)
    expect(second.lines.at(-1)).to.equal('broker: nothing to do')
  })

  it('creates a vhost that is not there', async () => {
    const name = `${vhost}/new one`

    const run = await runInit(['broker'], { ...env, RABBITMQ_VHOST: name })

    expect(run.code, run.stdout).to.equal(0)
    expect(run.lines[0]).to.equal(`vhost ${name}: created`)
  })

  it('makes quorum queues with the limits that lose nothing', async () => {
    await runInit(['broker'], env)

    const queue = (await broker.api('GET', `/queues/${vhost}/s3minioqueue`)) as {
      type: string
      arguments: object
    }
    expect(queue.type).to.equal('quorum')
    expect(queue.arguments).to.include({
      'x-delivery-limit': 50,
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
    })
  })

  it('routes an event published by the store to the work queue', async () => {
    await runInit(['broker'], env)

    expect(await tryAs('store', publish('s3minioscan', 'bucket_notifications'))).to.equal('allowed')
    const got = (await broker.api('POST', `/queues/${vhost}/s3minioqueue/get`, {
      count: 1,
      ackmode: 'ack_requeue_false',
      encoding: 'auto',
    })) as unknown[]
    expect(got).to.have.length(1)
  })

  it('names both values of a queue argument that differs, and creates nothing', async () => {
    await broker.api('PUT', `/queues/${vhost}/s3minioqueue`, {
      durable: true,
      arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 20 },
    })

    const run = await runInit(['broker'], env)

    expect(run.code).to.equal(1)
    expect(run.lines.at(-1)).to.include('queue s3minioqueue: x-delivery-limit is 20, wanted 50')
    expect(run.lines.at(-1)).to.include('x-overflow is nothing, wanted "reject-publish"')
    expect(run.hint).to.include('delete_queue')
    const queues = (await broker.api('GET', `/queues/${vhost}`)) as unknown[]
    expect(queues).to.have.length(1)
  })

  it('names both values of an exchange that differs', async () => {
    await broker.api('PUT', `/exchanges/${vhost}/s3minioscan`, { type: 'direct', durable: false })

    const run = await runInit(['broker'], env)

    expect(run.code).to.equal(1)
    expect(run.lines.at(-1)).to.include('exchange s3minioscan: type is "direct", wanted "topic"')
    expect(run.lines.at(-1)).to.include('durable is false, wanted true')
  })

  it('refuses a policy that would expire or cap our queues, before it creates anything', async () => {
    await broker.api('PUT', `/policies/${vhost}/tidy`, {
      pattern: '^s3minio',
      'apply-to': 'queues',
      definition: { 'message-ttl': 60_000, 'max-length': 10 },
    })

    const run = await runInit(['broker'], env)

    expect(run.code).to.equal(1)
    expect(run.lines.at(-1)).to.include(
      'policy "tidy" sets message-ttl=60000, max-length=10 on queue s3minioqueue',
    )
    expect(await broker.api('GET', `/queues/${vhost}`)).to.eql([])
  })

  it('refuses an operator policy that would do so', async () => {
    await broker.api('PUT', `/operator-policies/${vhost}/cap`, {
      pattern: '.*',
      'apply-to': 'queues',
      definition: { 'max-length': 5 },
    })

    const run = await runInit(['broker'], env)

    expect(run.code).to.equal(1)
    expect(run.lines.at(-1)).to.include('operator policy "cap" sets max-length=5')
  })

  it('leaves a policy alone that harms nothing', async () => {
    await broker.api('PUT', `/policies/${vhost}/other`, {
      pattern: '^people',
      'apply-to': 'queues',
      definition: { 'message-ttl': 60_000 },
    })

    expect((await runInit(['broker'], env)).code).to.equal(0)
  })

  it('sets a changed password and changed rights again, and says so', async () => {
    await runInit(['broker'], env)
    const user = `${vhost}-avscan`
    await broker.api('PUT', `/permissions/${vhost}/${user}`, {
      configure: '.*',
      write: '.*',
      read: '.*',
    })

    const run = await runInit(['broker'], { ...env, AVSCAN_BROKER_PASSWORD: secret('other') })

    expect(run.lines).to.include(`user ${user}: password set`)
    expect(run.lines).to.include(`rights of ${user}: changed`)
    const found = (await broker.api('GET', `/users/${user}`)) as Parameters<typeof passwordFits>[0]
    expect(passwordFits(found, secret('other'))).to.equal(true)
    expect(passwordFits(found, secret('avscan'))).to.equal(false)
  })

  it('takes the administrator tag from a service user', async () => {
    const user = `${vhost}-notifier`
    await broker.api('PUT', `/users/${user}`, {
      password: secret('notifier'),
      tags: 'administrator',
    })

    const run = await runInit(['broker'], env)

    expect(run.lines).to.include(`user ${user}: tags administrator taken away`)
    expect(await broker.api('GET', `/users/${user}`)).to.have.property('tags').that.is.empty
  })

  it('names a queue whose endpoint is no longer configured', async () => {
    await broker.api('PUT', `/queues/${vhost}/avscan.notify.old`, { durable: true })

    const run = await runInit(['broker'], env)

    expect(run.code).to.equal(0)
    expect(run.lines.join('\n')).to.include(
      'queue avscan.notify.old belongs to no endpoint any more',
    )
  })

  it('takes a hold queue of another delay off the events, and lets it run empty', async () => {
    await runInit(['broker'], { ...env, RECONCILE_AFTER_MS: '2000' })
    const event = publish('s3minioscan', 'bucket_notifications.spool')
    expect(await tryAs('store', event)).to.equal('allowed')
    const former = 's3minioqueue.spool.hold.2s'

    const changed = await runInit(['broker'], { ...env, RECONCILE_AFTER_MS: '1000' })
    const again = await runInit(['broker'], { ...env, RECONCILE_AFTER_MS: '1000' })

    expect(changed.code, changed.stdout).to.equal(0)
    expect(changed.lines).to.include(
      `binding s3minioscan → ${former}, of another reconcile.afterMs: taken away`,
    )
    expect(again.lines.at(-1), again.stdout).to.equal('broker: nothing to do')
    expect(await broker.api('GET', `/bindings/${vhost}/e/s3minioscan/q/${former}`)).to.eql([])
    expect(await tryAs('store', event)).to.equal('allowed')
    // One that the former queue held, and one that came to the queue of now alone.
    const spooled = async () => {
      const { messages } = (await broker.api('GET', `/queues/${vhost}/s3minioqueue.spool`)) as {
        messages?: number
      }
      if (messages !== 2) throw new Error(`${messages} messages instead of 2`)
    }
    await eventually(spooled, { timeoutMs: 30_000, everyMs: 100 })
  })

  describe('rights', () => {
    beforeEach(async () => {
      expect((await runInit(['broker'], env)).code).to.equal(0)
    })

    it('let the store declare its own exchange and publish there, and nowhere else', async () => {
      const declare = (name: string) =>
        tryAs('store', (channel) => channel.assertExchange(name, 'topic', { durable: true }))
      expect(await declare('s3minioscan')).to.equal('allowed')
      expect(await declare('mine')).to.equal('403')
      expect(await tryAs('store', publish('avscan.verdicts', 'verdict.clean.b'))).to.equal('403')
      expect(await tryAs('store', publish('avscan.jobs', 's3minioqueue'))).to.equal('403')
      expect(await tryAs('store', publish('', 's3minioqueue'))).to.equal('403')
    })

    for (const queue of ['s3minioqueue', 'avscan.notify', 'avscan.dead'])
      it(`keep the store from reading ${queue}`, async () => {
        expect(await tryAs('store', (channel) => channel.get(queue))).to.equal('403')
      })

    it('let avscan read its lanes and publish verdicts, jobs and retries', async () => {
      for (const queue of ['s3minioqueue', 's3minioqueue.bulk', 's3minioqueue.actions'])
        expect(await tryAs('avscan', (channel) => channel.get(queue)), queue).to.equal('allowed')
      for (const exchange of ['avscan.jobs', 'avscan.verdicts', 'avscan.retry.10s'])
        expect(await tryAs('avscan', publish(exchange, 's3minioqueue')), exchange).to.equal(
          'allowed',
        )
    })

    it('let avscan configure nothing, publish no events and read nobody else', async () => {
      expect(await tryAs('avscan', (channel) => channel.assertQueue('mine'))).to.equal('403')
      expect(await tryAs('avscan', (channel) => channel.deleteQueue('s3minioqueue'))).to.equal(
        '403',
      )
      expect(await tryAs('avscan', publish('s3minioscan', 'bucket_notifications'))).to.equal('403')
      expect(await tryAs('avscan', (channel) => channel.get('avscan.notify'))).to.equal('403')
    })

    it('let the notifier read its queues and retry, and not publish verdicts', async () => {
      expect(await tryAs('notifier', (channel) => channel.get('avscan.notify'))).to.equal('allowed')
      expect(await tryAs('notifier', publish('avscan.jobs', 'avscan.dead'))).to.equal('allowed')
      expect(await tryAs('notifier', publish('avscan.verdicts', 'verdict.clean.b'))).to.equal('403')
      expect(await tryAs('notifier', (channel) => channel.get('s3minioqueue'))).to.equal('403')
      expect(await tryAs('notifier', (channel) => channel.assertQueue('mine'))).to.equal('403')
    })

    it('let the audit receiver publish jobs, and nothing else', async () => {
      for (const key of ['s3minioqueue', 'avscan.reconcile'])
        expect(await tryAs('storeAudit', publish('avscan.jobs', key)), key).to.equal('allowed')
      for (const exchange of ['s3minioscan', 'avscan.verdicts', 'avscan.retry.10s', ''])
        expect(await tryAs('storeAudit', publish(exchange, 's3minioqueue')), exchange).to.equal(
          '403',
        )
      for (const queue of ['s3minioqueue', 'avscan.reconcile', 'avscan.dead'])
        expect(await tryAs('storeAudit', (channel) => channel.get(queue)), queue).to.equal('403')
      expect(await tryAs('storeAudit', (channel) => channel.assertQueue('mine'))).to.equal('403')
    })

    it('let the reconciler read its queues and the dead letters, and publish jobs and retries', async () => {
      for (const queue of ['s3minioqueue.spool', 'avscan.reconcile', 'avscan.dead'])
        expect(await tryAs('reconciler', (channel) => channel.get(queue)), queue).to.equal(
          'allowed',
        )
      for (const exchange of ['avscan.jobs', 'avscan.retry.10s'])
        expect(await tryAs('reconciler', publish(exchange, 's3minioqueue')), exchange).to.equal(
          'allowed',
        )
    })

    it('let the reconciler ask how full the scan queues are', async () => {
      await tryAs('avscan', publish('avscan.jobs', 's3minioqueue.bulk'))
      for (const [queue, count] of [
        ['s3minioqueue', 0],
        ['s3minioqueue.bulk', 1],
      ] as const) {
        let found: number | undefined
        const said = await tryAs('reconciler', async (channel) => {
          found = (await channel.checkQueue(queue)).messageCount
        })
        expect([said, found], queue).to.eql(['allowed', count])
      }
    })

    it('let the reconciler take no job, tell no verdict and configure nothing', async () => {
      for (const queue of ['s3minioqueue', 's3minioqueue.bulk', 'avscan.notify'])
        expect(await tryAs('reconciler', (channel) => channel.get(queue)), queue).to.equal('403')
      for (const exchange of ['avscan.verdicts', 's3minioscan', ''])
        expect(await tryAs('reconciler', publish(exchange, 's3minioqueue')), exchange).to.equal(
          '403',
        )
      expect(await tryAs('reconciler', (channel) => channel.assertQueue('mine'))).to.equal('403')
      const bind = (exchange: string) =>
        tryAs('reconciler', (channel) => channel.bindQueue('s3minioqueue', exchange, '#'))
      for (const exchange of ['avscan.verdicts', 's3minioscan'])
        expect(await bind(exchange), exchange).to.equal('403')
      expect(await tryAs('reconciler', (channel) => channel.purgeQueue('s3minioqueue'))).to.equal(
        '403',
      )
    })
  })

  describe('when it cannot', () => {
    it('says that user or password are wrong', async () => {
      expect(await lastOf({ RABBITMQ_DEFAULT_PASS: 'wrong' })).to.match(
        /broker 127\.0\.0\.1:\d+ \(management API\) refuses the user "rabbitadmin"/,
      )
    })

    it('says that the user is no administrator', async () => {
      const name = `${vhost}-plain`
      await broker.api('PUT', `/users/${name}`, { password: 'plain', tags: 'management' })

      const said = await lastOf({ RABBITMQ_DEFAULT_USER: name, RABBITMQ_DEFAULT_PASS: 'plain' })

      expect(said).to.match(/forbids|refuses/)
    })

    it('waits for a host that does not exist, and then names it', async () => {
      const said = await lastOf({ RABBITMQ_ENDPOINT: 'nowhere.invalid', INIT_TIMEOUT: '1' })
      expect(said).to.include('broker nowhere.invalid')
      expect(said).to.match(/did not answer within 1 s: .*(ENOTFOUND|EAI_AGAIN)/)
    })

    it('waits for a port where nothing listens, and then names it', async () => {
      const [port] = await freePorts(1)
      const said = await lastOf({ RABBITMQ_PORT_MANAGEMENT: String(port), INIT_TIMEOUT: '1' })
      expect(said).to.include(`:${port}`).and.include('ECONNREFUSED')
    })

    it('says that the CA is another', async () => {
      const folder = testFolder('ca')
      const other = await createAuthority(new Date())
      writeFileSync(join(folder, 'ca.pem'), other.certificate)
      expect(await lastOf({ TLS_CA: join(folder, 'ca.pem') })).to.match(/certificate/)
    })

    it('names every missing secret at once', async () => {
      const run = await runInit(['broker'], { ...broker.env({ vhost }) })

      expect(run.code).to.equal(1)
      for (const name of [
        'RABBITMQ_DEFAULT_PASS',
        'AVSCAN_BROKER_PASSWORD',
        'NOTIFIER_BROKER_PASSWORD',
        'RECONCILER_BROKER_PASSWORD',
        'STORE_AUDIT_BROKER_PASSWORD',
      ])
        expect(run.lines.join('\n')).to.include(`${name}: required by init`)
    })

    describe('a server', () => {
      let server: Server | undefined
      afterEach(() => {
        server?.close()
        server = undefined
      })

      const serve = async (names: string[], notAfter?: Date) => {
        const authority = {
          certificate: readFileSync(join(broker.certs.folder, 'private/ca.pem'), 'utf8'),
          key: readFileSync(join(broker.certs.folder, 'private/ca.key'), 'utf8'),
        }
        const pair = await issueServer({
          authority,
          names,
          now: new Date(),
          ...(notAfter === undefined ? {} : { notAfter }),
        })
        server = createTlsServer({ cert: pair.certificate, key: pair.key }, (_, answer) =>
          answer.end('{}'),
        ).listen(0, '127.0.0.1')
        await once(server, 'listening')
        return String((server.address() as { port: number }).port)
      }

      it('whose certificate has expired is named with the way out', async () => {
        const port = await serve(['127.0.0.1'], new Date(Date.now() - 60_000))
        const said = await lastOf({ RABBITMQ_PORT_MANAGEMENT: port })
        expect(said).to.include('its certificate has expired; run `init certificates`')
      })

      it('whose certificate is for another host is named with the way out', async () => {
        const port = await serve(['elsewhere'])
        expect(await lastOf({ RABBITMQ_PORT_MANAGEMENT: port })).to.include('TLS_NAMES')
      })
    })
  })

  describe('--print', () => {
    it('shows definitions without secrets, and touches nothing', async () => {
      const run = await runInit(['broker', '--print'], env)

      expect(run.code).to.equal(0)
      expect(run.stdout).not.to.match(/0123456789abcdef/)
      expect(run.stdout).to.include(`rabbitmqctl add_user ${vhost}-avscan`)
      expect(await broker.api('GET', `/queues/${vhost}`)).to.eql([])
    })

    it('shows what the broker takes, and init then finds as wanted', async () => {
      const { stdout } = await runInit(['broker', '--print'], env)
      for (const who of brokerUsers)
        await broker.api('PUT', `/users/${vhost}-${who}`, { password: secret(who), tags: '' })
      const definitions = stdout
        .split('\n')
        .filter((line) => !line.startsWith('#'))
        .join('\n')

      await broker.api('POST', '/definitions', JSON.parse(definitions))

      const run = await runInit(['broker'], env)
      expect(run.lines.at(-1), run.stdout).to.equal('broker: nothing to do')
    })
  })
})
