// Connections and the publisher on a real RabbitMQ: what is confirmed, what is not, and what only a person can mend.
import { expect } from 'chai'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectPublisher, permanentProblem } from '../../services/shared/broker.ts'
import type { Config } from '../../services/shared/config-schema.ts'
import { FatalError, PublishError, UnroutableError } from '../../services/shared/errors.ts'
import { silentLog } from '../../services/shared/log.ts'
import { names } from '../../services/shared/topology.ts'
import { eventually } from '../support/eventually.ts'
import { noRabbitmq, startRabbitmq, type RealRabbitmq } from '../support/real-rabbitmq.ts'
import { rejection } from '../support/rejection.ts'
import { laneConfig, openLane, type TestLane } from '../support/shared-lane.ts'
import { testCertificate } from '../support/test-certificate.ts'

describe('connectPublisher on a real RabbitMQ', function () {
  this.timeout(60_000)
  let broker: RealRabbitmq
  let lane: TestLane

  before(async function () {
    if (noRabbitmq !== undefined) this.skip()
    broker = await startRabbitmq()
    lane = await openLane(broker)
  })
  after(async () => {
    await lane?.close()
    await broker?.close()
  })

  const refusal = async (config: Config) => {
    const error = await rejection(connectPublisher(config, silentLog))
    expect(error).to.be.instanceOf(FatalError)
    expect(JSON.stringify([error.message, String(error.cause)])).not.to.include(broker.password)
    return error as FatalError
  }
  const take = () =>
    eventually(async () => {
      const message = await lane.channel.get(lane.queue, { noAck: true })
      if (message === false) throw new Error('nothing there')
      return message
    })
  const publication = { exchange: names.jobs, routingKey: 's3minioqueue', body: Buffer.from('x') }

  it('returns when the message is routed: persistent, with its id and type', async () => {
    await lane.publisher.publish({ ...publication, messageId: 'm1', type: 't', headers: { a: 1 } })

    const { properties } = await take()
    expect(properties).to.include({ messageId: 'm1', type: 't', deliveryMode: 2 })
    expect(properties.headers).to.include({ a: 1 })
  })

  it('brings a verdict to those it names beside its routing key, and to nobody when it names none', async () => {
    const { dead, verdicts, notify } = names
    await lane.channel.bindQueue(lane.queue, verdicts, 'verdict.clean.#')
    const verdict = { exchange: verdicts, routingKey: 'verdict.clean.a.b', body: Buffer.from('v') }

    await lane.publisher.publish({ ...verdict, alsoTo: [notify] })
    await lane.publisher.publish({ ...verdict, alsoTo: [] })
    await lane.channel.unbindQueue(lane.queue, verdicts, 'verdict.clean.#')
    await lane.publisher.publish({ ...verdict, alsoTo: [] })
    const unbound = await rejection(lane.publisher.publish({ ...verdict, alsoTo: ['nobody'] }))

    expect(unbound).to.be.instanceOf(UnroutableError)
    const told = await lane.channel.get(notify, { noAck: true })
    expect(told && told.fields.routingKey).to.equal('verdict.clean.a.b')
    expect(told && told.properties.headers).to.not.have.any.keys('BCC', 'CC')
    expect(await lane.channel.get(notify, { noAck: true })).to.equal(false)
    expect((await take()).fields.routingKey).to.equal('verdict.clean.a.b')
    await take()
    expect(await lane.channel.get(dead, { noAck: true })).to.equal(false)
  })

  it('drops every x- header, however it is written', async () => {
    await lane.publisher.publish({
      ...publication,
      headers: { 'x-death': [], 'X-Delivery-Count': 30, 'x-first-death-queue': 'q', kept: 'x-' },
    })

    const { headers = {} } = (await take()).properties
    expect(headers).not.to.have.any.keys('x-death', 'X-Delivery-Count', 'x-first-death-queue')
    expect(headers).to.include({ kept: 'x-' })
  })

  it('fails when no queue takes the message', async () => {
    const error = await rejection(lane.publisher.publish({ ...publication, routingKey: 'nobody' }))

    expect(error).to.be.instanceOf(PublishError).and.instanceOf(UnroutableError)
    expect(error.message).to.equal('no queue takes nobody from avscan.jobs; run `init broker`')
  })

  it('tells which of many concurrent messages were routed', async () => {
    const endings = await Promise.allSettled(
      Array.from({ length: 50 }, (_, index) =>
        lane.publisher.publish({ ...publication, routingKey: index % 2 ? 'nobody' : lane.queue }),
      ),
    )

    expect(endings.map(({ status }) => status === 'fulfilled')).to.deep.equal(
      endings.map((_, index) => index % 2 === 0),
    )
    await lane.channel.purgeQueue(lane.queue)
  })

  it('fails on a missing exchange, and works again afterwards', async () => {
    const error = await rejection(lane.publisher.publish({ ...publication, exchange: 'nowhere' }))

    expect(error).to.be.instanceOf(PublishError)
    await eventually(() => lane.publisher.connected)
    await lane.publisher.publish(publication)
    await take()
  })

  it('gives a message back to its lane from the ladder after the delay', async () => {
    await lane.publisher.publish({
      ...publication,
      exchange: 'avscan.retry.50ms',
      headers: { n: 1 },
    })

    const message = await take()
    expect(message.fields.routingKey).to.equal(lane.queue)
    expect(message.properties.headers).to.include({ n: 1 })
  })

  it('publishes what came from the ladder again, round after round', async () => {
    let headers: Record<string, unknown> = {}
    for (let round = 0; round < 4; round++) {
      await lane.publisher.publish({ ...publication, exchange: 'avscan.retry.5ms', headers })
      headers = (await take()).properties.headers ?? {}
    }

    expect(headers['x-death']).to.be.an('array').with.length(1)
  })

  it('refuses at once while there is no connection', async () => {
    const publisher = await connectPublisher(lane.config, silentLog)
    await publisher.close()

    await eventually(() => !publisher.connected)
    expect(await rejection(publisher.publish(publication))).to.be.instanceOf(PublishError)
  })

  it('names user and hint when the password is wrong, and never the password', async () => {
    const error = await refusal(laneConfig(broker, { AVSCAN_BROKER_PASSWORD: 'wrong-password' }))

    expect(error.message).to.equal(`broker 127.0.0.1:${broker.port} refuses the user "admin"`)
    expect(error.hint).to.equal('user or password differ from what `init broker` created')
    expect(String(error.cause)).not.to.include('wrong-password')
  })

  it('names the virtual host that is not there', async () => {
    const error = await refusal(laneConfig(broker, { RABBITMQ_VHOST: 'nowhere' }))

    expect(error.message).to.equal(
      `broker 127.0.0.1:${broker.port} does not let "admin" into the virtual host "nowhere"`,
    )
  })

  it('names the virtual host in which the user has no rights', async () => {
    await broker.api('PUT', '/api/users/nobody', { password: 'only-for-tests', tags: '' })

    const error = await refusal(
      laneConfig(broker, { AVSCAN_BROKER_USER: 'nobody', RABBITMQ_VHOST: lane.vhost }),
    )

    expect(error.message).to.match(/does not let "nobody" into the virtual host "lane-/)
  })

  it('explains a broker that speaks TLS by a CA that we do not trust', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'test-broker-'))
    const { cert, key } = await testCertificate(folder, 'own')
    const other = await testCertificate(folder, 'other')
    const server = createTlsServer({ cert, key }).listen(0, '127.0.0.1')
    server.on('tlsClientError', () => {})
    await once(server, 'listening')
    try {
      const error = await refusal(
        laneConfig(broker, {
          RABBITMQ_PORT: String((server.address() as AddressInfo).port),
          RABBITMQ_TLS: 'true',
          TLS_CA: other.certFile,
        }),
      )

      expect(error.message).to.match(/its certificate is signed by nobody we trust; set TLS_CA/)
    } finally {
      server.close()
      await rm(folder, { recursive: true })
    }
  })

  it('explains a port that does not speak TLS', async () => {
    const error = await refusal(laneConfig(broker, { RABBITMQ_TLS: 'true' }))

    expect(error.message).to.match(/does not speak TLS|speak TLS on this port/)
  })

  it('explains a CA file that is missing, and one that holds no certificate', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'test-broker-'))
    await writeFile(join(folder, 'ca.crt'), 'not a certificate\n')
    try {
      const missing = await refusal(
        laneConfig(broker, { RABBITMQ_TLS: 'true', TLS_CA: join(folder, 'none') }),
      )
      const garbage = await refusal(
        laneConfig(broker, { RABBITMQ_TLS: 'true', TLS_CA: join(folder, 'ca.crt') }),
      )

      expect(missing.message).to.match(/^read the CA file .*none: ENOENT/)
      expect(garbage.message).to.match(/^read the CA file .*ca.crt: it holds no certificate/)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('waits for a broker that is not there yet, whatever its port is called', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    const controller = new AbortController()
    const config = laneConfig(broker, { RABBITMQ_PORT: String(port) })
    const warned = Promise.withResolvers<void>()
    const log = { ...silentLog, warn: () => (warned.resolve(), undefined as never) }

    const connecting = rejection(connectPublisher(config, log, controller.signal))
    await warned.promise
    controller.abort(new Error('stopped'))

    expect((await connecting).message).to.equal('stopped')
  })
})

describe('permanentProblem', () => {
  const config = laneConfig({ host: '127.0.0.1', port: 5671, user: 'u', password: 'p' } as never)

  for (const port of [5403, 54_041, 5300]) {
    it(`lets a refused connection to port ${port} heal`, () => {
      const error = Object.assign(new Error(`connect ECONNREFUSED 127.0.0.1:${port}`), {
        code: 'ECONNREFUSED',
      })

      expect(permanentProblem(error, config)).to.equal(undefined)
    })
  }

  it('says what expired', () => {
    const error = Object.assign(new Error('certificate has expired'), { code: 'CERT_HAS_EXPIRED' })

    expect(permanentProblem(error, config)?.message).to.equal(
      'broker 127.0.0.1:5671: its certificate has expired; run `init certificates` and restart it',
    )
  })

  it('tells a missing permission from a missing virtual host', () => {
    const error = new Error(
      `Operation failed: QueueDeclare; 403 (ACCESS-REFUSED) with message "ACCESS_REFUSED - read access to queue 'q' in vhost '/' refused for user 'u'"`,
    )

    expect(permanentProblem(error, config)?.hint).to.equal(
      'run `init broker`: it gives each user its permissions',
    )
  })
})
