// The notifier's process against a real RabbitMQ and real HTTP receivers.
import { expect } from 'chai'
import { randomUUID } from 'node:crypto'
import { smokeCanary } from '../../services/shared/canary-objects.ts'
import { eventually } from '../support/eventually.ts'
import { noRabbitmq, startRabbitmq, type RealRabbitmq } from '../support/real-rabbitmq.ts'
import {
  notifierEnv,
  runNotifierToEnd,
  startNotifier,
  type RunningNotifier,
} from '../support/run-notifier.ts'
import { objectMessage, verdictMessage } from '../support/verdict-message.ts'
import {
  answers,
  secretOf,
  startWebhookReceiver,
  type WebhookReceiver,
} from '../support/webhook-receiver.ts'

const secret = secretOf(1)
/** Retries after 1, 1, 1, 6, 18, 72, 216 and 432 ms. */
const quick = '0.00001'

const metric = async (running: RunningNotifier, name: string) =>
  Number(
    (await running.get('/metrics')).text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length),
  )

const deadLetter = (running: RunningNotifier) =>
  eventually(async () => {
    const message = await running.dead()
    if (message === undefined) throw new Error('nothing in avscan.dead')
    return message
  })

describe('notifier', function () {
  this.timeout(60_000)
  let broker: RealRabbitmq
  let receiver: WebhookReceiver
  let second: WebhookReceiver
  let notifier: RunningNotifier | undefined

  before(async function () {
    this.timeout(120_000)
    if (noRabbitmq !== undefined) {
      console.log(`      skipped: ${noRabbitmq}`)
      this.skip()
    }
    broker = await startRabbitmq()
  })
  after(async () => {
    await broker?.close()
  })
  beforeEach(async () => {
    receiver = await startWebhookReceiver({ secrets: [secret] })
    second = await startWebhookReceiver({ secrets: [secret] })
  })
  afterEach(async () => {
    await notifier?.close()
    notifier = undefined
    await receiver.close()
    await second.close()
  })

  const start = async (env: Record<string, string> = {}, yaml?: string) => {
    const publish = { PUBLISH_URL: receiver.url(), PUBLISH_SECRET: secret, RETRY_SCALE: quick }
    notifier = await startNotifier(broker, { ...publish, ...env }, yaml)
    return notifier
  }
  const secondEndpoint = (extra = '') =>
    `endpoints:\n  - {name: second, url: '${second.url()}', secret: ${secret}${extra}}\n`
  const received = (count: number, from = receiver) =>
    eventually(() => {
      expect(from.requests).to.have.length(count)
      return from.requests
    })

  it('posts a verdict once, signed, as it was published', async () => {
    const running = await start()
    const id = randomUUID()

    await running.publish(verdictMessage(), id)

    const [request] = await received(1)
    expect(request?.body).to.deep.equal(verdictMessage())
    expect(request).to.include({ id, verified: true })
    await running.drained('avscan.notify')
  })

  it('keeps id and body over retries until the receiver takes it', async () => {
    receiver.script(
      answers.status(500),
      answers.reset,
      answers.status(302, { location: second.url() }),
      answers.status(404),
    )
    const running = await start()

    await running.publish(verdictMessage(), 'the-id')

    const requests = await received(5)
    expect(new Set(requests.map(({ id }) => id))).to.deep.equal(new Set(['the-id']))
    expect(new Set(requests.map(({ raw }) => raw.toString())).size).to.equal(1)
    expect(requests.every(({ verified }) => verified)).to.equal(true)
    expect(second.requests).to.deep.equal([])
    expect(await running.dead()).to.equal(undefined)
  })

  it('waits at least as long as Retry-After says', async () => {
    receiver.script(answers.status(429, { 'retry-after': '1' }))
    // Retries after 1, 3, 12, 60, 180, 720, 2160 and 4320 ms.
    const running = await start({ RETRY_SCALE: '0.0001' })

    await running.publish(verdictMessage())
    await received(1)
    const begun = performance.now()

    await received(2)
    expect(performance.now() - begun).to.be.greaterThan(975)
  })

  it('tries again when no answer comes in time', async () => {
    receiver.script(answers.never, answers.drippingHeaders, answers.late(200, 1000))
    const running = await start({}, 'webhook: {timeoutMs: 250}')

    await running.publish(verdictMessage(), 'the-id')

    const requests = await received(4)
    expect(new Set(requests.map(({ id }) => id)).size).to.equal(1)
  })

  it('gives up after the ninth attempt: avscan.dead with origin, reason and last error', async () => {
    receiver.always(answers.status(503))
    const running = await start()

    await running.publish(verdictMessage(), 'the-id')
    const dead = await deadLetter(running)

    expect(receiver.requests).to.have.length(9)
    expect(dead).to.include({ messageId: 'the-id', body: JSON.stringify(verdictMessage()) })
    expect(dead.headers).to.include({
      'avscan-origin': 'avscan.notify',
      'avscan-reason': 'RetryLaterError',
      'avscan-attempts': 9,
    })
    expect(dead.headers['avscan-error']).to.match(/^endpoint PUBLISH_URL .* answered 503$/)
    expect(await metric(running, 'avscan_notifier_dead_total{endpoint="PUBLISH_URL"}')).to.equal(1)
  })

  it('sends what is no message of ours to avscan.dead and goes on', async () => {
    const running = await start()

    await running.publish(Buffer.from('not json'))
    await running.publish(verdictMessage(), 'good')

    expect((await received(1))[0]?.id).to.equal('good')
    const dead = await deadLetter(running)
    expect(dead.headers['avscan-reason']).to.equal('DiscardError')
  })

  it('REPORT_CLEAN=false: clean objects are not told', async () => {
    const running = await start()

    await running.publish(verdictMessage('CLEAN'), 'clean')
    await running.publish(verdictMessage('INFECTED'), 'infected')
    await running.publish(objectMessage('object.deleted'), 'deleted')

    const ids = (await received(2)).map(({ id }) => id)
    expect(ids).to.have.members(['infected', 'deleted'])
    await running.drained('avscan.notify')
    expect(receiver.requests).to.have.length(2)
  })

  it('REPORT_CLEAN=true: clean objects are told too, canary objects never', async () => {
    const running = await start({ REPORT_CLEAN: 'true' })

    await running.publish(verdictMessage('CLEAN', smokeCanary(randomUUID(), 'eicar')), 'canary')
    await running.publish(verdictMessage('CLEAN'), 'clean')

    expect((await received(1))[0]?.id).to.equal('clean')
    await running.drained('avscan.notify')
    expect(receiver.requests).to.have.length(1)
  })

  it("PUBLISH_FORMAT=legacy: the original's body, with status and action", async () => {
    const running = await start({ PUBLISH_FORMAT: 'legacy' })

    await running.publish(verdictMessage('INFECTED', 'a b.txt'))

    const [request] = await received(1)
    const body = request?.body as unknown as { Message: string; status: string; action: string }
    expect(body).to.include({ status: 'infected', action: 'delete' })
    expect(JSON.parse(body.Message)).to.include({ Key: 'storagebucket/a b.txt' })
    expect(request?.verified).to.equal(true)
  })

  it('PUBLISH_URL empty: messages are dropped, other endpoints are served, and status says off', async () => {
    const running = await start({ PUBLISH_URL: '' }, secondEndpoint())

    await running.publish(verdictMessage())

    await received(1, second)
    await running.drained('avscan.notify')
    expect(receiver.requests).to.deep.equal([])
    expect(JSON.parse((await running.get('/readyz')).text)).to.deep.include({
      endpoints: { PUBLISH_URL: 'off', second: 'on' },
    })
  })

  it('a receiver that hangs delays no other endpoint', async () => {
    receiver.always(answers.never)
    const running = await start({}, secondEndpoint())

    for (let index = 0; index < 30; index++) await running.publish(verdictMessage(), `id-${index}`)

    await received(30, second)
    expect(receiver.requests).to.have.length(8)
    expect(await running.waiting('avscan.notify')).to.equal(22)
  })

  it('410 pauses that endpoint alone; nothing is lost or counted, and it goes on by itself', async () => {
    receiver.always(answers.status(410))
    // The pause of 10 minutes becomes 3 s.
    const running = await start({ RETRY_SCALE: '0.005' }, secondEndpoint())

    for (let index = 0; index < 20; index++) await running.publish(verdictMessage(), `id-${index}`)
    await received(20, second)
    await eventually(async () => {
      expect(
        await metric(running, 'avscan_notifier_endpoint_paused{endpoint="PUBLISH_URL"}'),
      ).to.equal(1)
      expect(await running.waiting('avscan.notify')).to.equal(20)
    })
    const { status, text } = await running.get('/readyz')
    expect(status).to.equal(200)
    expect(text).to.include('it answered 410 Gone')
    const tried = receiver.requests.length
    receiver.always(answers.status(204))

    await eventually(() => receiver.requests.length === tried + 20, { timeoutMs: 30_000 })

    const told = new Set(receiver.requests.slice(tried).map(({ id }) => id))
    expect(told.size).to.equal(20)
    expect(tried).to.be.at.most(8)
    expect(await running.dead()).to.equal(undefined)
    expect(
      await metric(running, 'avscan_notifier_endpoint_paused{endpoint="PUBLISH_URL"}'),
    ).to.equal(0)
  })

  it('410: a restart tries again at once', async () => {
    receiver.script(answers.status(410))
    const running = await start({ RETRY_SCALE: '0.1' })
    await running.publish(verdictMessage(), 'the-id')
    await eventually(() => running.output.includes('410 Gone'))
    await running.drained('avscan.notify')

    const code = await running.stop()
    expect(code, running.output).to.equal(0)
    await running.start()

    expect((await received(2))[1]?.id).to.equal('the-id')
  })

  it('kill -9 in the middle of a request: the verdict is told again under the same id', async () => {
    receiver.script(answers.never)
    const running = await start()
    await running.publish(verdictMessage(), 'the-id')
    await received(1)

    await running.stop('SIGKILL')
    await running.start()

    expect((await received(2))[1]?.id).to.equal('the-id')
  })

  it('SIGTERM lets a running request end, then exits 0', async () => {
    receiver.script(answers.late(204, 300))
    const running = await start()
    await running.publish(verdictMessage(), 'the-id')
    await received(1)

    const code = await running.stop()
    expect(code, running.output).to.equal(0)

    expect(await running.waiting('avscan.notify')).to.equal(0)
    expect(running.output).to.include('webhook delivered')
  })

  it('SIGTERM with a receiver that hangs: exits in time and keeps the message', async () => {
    receiver.script(answers.never)
    const running = await start({ SHUTDOWN_TIMEOUT_MS: '300' })
    await running.publish(verdictMessage(), 'the-id')
    await received(1)

    const code = await running.stop()
    expect(code, running.output).to.equal(0)
    await running.start()

    expect((await received(2))[1]?.id).to.equal('the-id')
    expect(await running.dead()).to.equal(undefined)
  })

  it('goes on after the broker was away', async function () {
    this.timeout(120_000)
    const running = await start()
    await broker.keepQueues()
    await broker.kill()
    await eventually(async () => (await running.get('/readyz')).status === 503)
    await broker.start()
    await eventually(async () => (await running.get('/readyz')).status === 200, {
      timeoutMs: 30_000,
    })

    await eventually(() => running.publish(verdictMessage(), 'the-id'), { timeoutMs: 30_000 })

    expect((await received(1))[0]?.id).to.equal('the-id')
  })

  it('says no secret, in the log or the metrics, and no key in the metrics', async () => {
    const url = receiver.url().replace('//', '//user:pass-word@').replace('/hook', '/t0ken')
    receiver.script(answers.status(500))
    const running = await start({ PUBLISH_URL: url })

    await running.publish(verdictMessage('INFECTED', 'private-key-name'))
    await received(2)
    await eventually(() => running.output.includes('webhook delivered'))

    const { text } = await running.get('/metrics')
    expect(running.output + text).to.not.match(/pass-word|t0ken|whsec_|AQEBAQ/)
    expect(text).to.not.include('private-key-name')
    expect(text).to.include('avscan_notifier_delivery_seconds_count{endpoint="PUBLISH_URL"} 2')
  })

  it('--check-config says whether the configuration is good', async () => {
    const good = { ...notifierEnv(broker, '/'), PUBLISH_URL: '' }
    const bad = { ...good, PUBLISH_URL: receiver.url(), PUBLISH_SECRET: 'whsec_short' }

    expect((await runNotifierToEnd(good, '--check-config')).code).to.equal(0)
    const refused = await runNotifierToEnd(bad, '--check-config')
    expect(refused.code).to.equal(1)
    expect(refused.output).to.include('PUBLISH_SECRET').and.not.include('whsec_short')
  })

  for (const [title, change, words] of [
    ['a wrong password', { NOTIFIER_BROKER_PASSWORD: 'wrong' }, /refuses the user "admin"/],
    ['a virtual host that is not there', { RABBITMQ_VHOST: 'nowhere' }, /virtual host "nowhere"/],
    ['queues that are not there', { RABBITMQ_VHOST: '/' }, /no queue.*init broker/],
  ] as const) {
    it(`exits 1 with one clear sentence for ${title}`, async () => {
      const { code, output } = await runNotifierToEnd({
        ...notifierEnv(broker, '/'),
        LOG_FORMAT: 'text',
        ...change,
      })

      expect(code).to.equal(1)
      expect(output).to.match(words)
    })
  }
})
