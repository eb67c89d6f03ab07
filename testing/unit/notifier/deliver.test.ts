import { Registry } from '@prometheus-io/client'
import { expect } from 'chai'
import {
  createDeliverer,
  endpointLabel,
  type Deliverer,
} from '../../../services/notifier/deliver.ts'
import { createMetrics } from '../../../services/notifier/metrics.ts'
import { createPoster, type Poster } from '../../../services/notifier/post.ts'
import type { EndpointConfig } from '../../../services/shared/config-schema.ts'
import {
  describeError,
  DiscardError,
  OutageError,
  RetryLaterError,
} from '../../../services/shared/errors.ts'
import { silentLog, type Log } from '../../../services/shared/log.ts'
import { eventually } from '../../support/eventually.ts'
import { rejection } from '../../support/rejection.ts'
import { deliveryOf, objectMessage, verdictMessage } from '../../support/verdict-message.ts'
import {
  answers,
  secretOf,
  startWebhookReceiver,
  type WebhookReceiver,
} from '../../support/webhook-receiver.ts'

const pauseMs = 600_000

describe('createDeliverer', () => {
  let receiver: WebhookReceiver
  let registry: Registry
  let clock: number
  let posters: Poster[]
  let logged: string[]

  /** Writes everything down, so that a test can look for what must not be there. */
  const log: Log = {
    ...silentLog,
    info: (...entry: unknown[]) => logged.push(JSON.stringify(entry)) as never,
    warn: (...entry: unknown[]) => logged.push(JSON.stringify(entry)) as never,
  }

  const open = (overrides: Partial<EndpointConfig> = {}): Deliverer => {
    const endpoint: EndpointConfig = {
      name: 'crm',
      url: receiver.url(),
      secret: secretOf(1),
      format: 'standard',
      verdicts: ['infected', 'clean'],
      objectEvents: true,
      prefix: '',
      ...overrides,
    }
    const poster =
      endpoint.url === ''
        ? undefined
        : createPoster(endpoint.url, { timeoutMs: 200, connections: 8, ca: undefined })
    if (poster !== undefined) posters.push(poster)
    const metrics = createMetrics(registry)(endpointLabel(endpoint))
    return createDeliverer(endpoint, {
      poster,
      concurrency: 8,
      pauseMs,
      metrics,
      log,
      now: () => clock,
    })
  }
  const metric = async (name: string, labels: string) =>
    Number(new RegExp(`^${name}\\{${labels}\\} (.*)$`, 'm').exec(await registry.metrics())?.[1])
  const count = (outcome: string) =>
    metric('avscan_notifier_deliveries_total', `endpoint="crm",outcome="${outcome}"`)
  const paused = () => metric('avscan_notifier_endpoint_paused', 'endpoint="crm"')

  beforeEach(async () => {
    receiver = await startWebhookReceiver({ secrets: [secretOf(1)] })
    registry = new Registry()
    clock = Date.now()
    posters = []
    logged = []
  })
  afterEach(async () => {
    await Promise.all(posters.map((poster) => poster.close()))
    await receiver.close()
  })

  it('posts the message as it is, signed, under the id of the message', async () => {
    const delivery = deliveryOf(verdictMessage())

    await open().handle(delivery)

    const [request] = receiver.requests
    expect(request?.raw.equals(delivery.body)).to.equal(true)
    expect(request?.id).to.equal(delivery.messageId)
    expect(request?.verified).to.equal(true)
    expect(await count('delivered')).to.equal(1)
  })

  it('keeps the id over retries and signs each attempt anew', async () => {
    receiver.script(answers.status(500))
    const lane = open()
    const delivery = deliveryOf(verdictMessage())

    await rejection(lane.handle(delivery))
    clock += 60_000
    await lane.handle({ ...delivery, attempt: 2 })

    const [first, second] = receiver.requests
    expect(second?.id).to.equal(first?.id)
    expect(second?.verified).to.equal(true)
    expect(Number(second?.headers['webhook-timestamp'])).to.equal(
      Number(first?.headers['webhook-timestamp']) + 60,
    )
  })

  it('gives a message without an id one that its bytes decide', async () => {
    const lane = open()

    await lane.handle(deliveryOf(verdictMessage('CLEAN'), { messageId: undefined }))
    await lane.handle(deliveryOf(verdictMessage('CLEAN'), { messageId: undefined }))
    await lane.handle(deliveryOf(verdictMessage('INFECTED'), { messageId: undefined }))

    const [first, second, other] = receiver.requests.map(({ id }) => id)
    expect(first).to.match(/^[0-9a-f]{32}$/)
    expect(second).to.equal(first)
    expect(other).to.not.equal(first)
  })

  it('signs with the old and the new secret during a rotation', async () => {
    await open({ secret: `${secretOf(9)},${secretOf(1)}` }).handle(deliveryOf(verdictMessage()))

    expect(receiver.requests[0]?.verified).to.equal(true)
  })

  it('signs the legacy body that it sends, not the message', async () => {
    await open({ format: 'legacy' }).handle(deliveryOf(verdictMessage()))

    expect(receiver.requests[0]?.verified).to.equal(true)
    expect(receiver.requests[0]?.body).to.include({ status: 'infected', action: 'delete' })
  })

  it('tells what happened to the object later', async () => {
    await open().handle(deliveryOf(objectMessage('object.deleted')))

    expect(receiver.requests[0]?.body.type).to.equal('object.deleted')
  })

  it('drops what the endpoint does not want, and counts it', async () => {
    await open().handle(deliveryOf(verdictMessage('UNSCANNABLE')))

    expect(receiver.requests).to.deep.equal([])
    expect(await count('dropped')).to.equal(1)
  })

  it('drops everything, undecodable messages too, when its url is empty', async () => {
    const lane = open({ url: '' })

    await lane.handle(deliveryOf(verdictMessage()))
    await lane.handle(deliveryOf(Buffer.from('garbage')))

    expect(lane.status).to.equal('off')
    expect(await count('dropped')).to.equal(2)
  })

  for (const [title, body] of [
    ['is no JSON', Buffer.from('garbage')],
    ['has no object', { type: 'object.scan.clean', timestamp: 'x', data: {} }],
  ] as const) {
    it(`discards a message that ${title}, and counts it as dead`, async () => {
      expect(await rejection(open().handle(deliveryOf(body)))).to.be.instanceOf(DiscardError)
      expect(await metric('avscan_notifier_dead_total', 'endpoint="crm"')).to.equal(1)
    })
  }

  for (const status of [301, 302, 307, 308, 400, 401, 403, 404, 408, 422, 429, 500, 502, 503]) {
    it(`tries again after ${status}`, async () => {
      receiver.always(answers.status(status, { location: receiver.url() }))

      const error = await rejection(open().handle(deliveryOf(verdictMessage())))

      expect(error).to.be.instanceOf(RetryLaterError)
      expect(error.message).to.include(`answered ${status}`)
      expect(receiver.requests).to.have.length(1)
      expect(await count('failed')).to.equal(1)
    })
  }

  for (const status of [200, 201, 202, 204, 299]) {
    it(`takes ${status} as delivered`, async () => {
      receiver.always(answers.status(status))

      await open().handle(deliveryOf(verdictMessage()))

      expect(await count('delivered')).to.equal(1)
    })
  }

  it('asks for the delay that Retry-After names', async () => {
    receiver.always(answers.status(429, { 'retry-after': '3600' }))

    const error = await rejection(open().handle(deliveryOf(verdictMessage())))

    expect(error).to.include({ delayMs: 3_600_000 })
  })

  for (const [title, answer, why] of [
    ['answers never', answers.never, 'did not answer in time'],
    ['answers too late', answers.late(200, 600), 'did not answer in time'],
    ['drips its headers', answers.drippingHeaders, 'did not answer in time'],
    ['resets the connection', answers.reset, 'gave no answer'],
    ['does not speak HTTP', answers.notHttp, 'gave no answer'],
  ] as const) {
    it(`tries again when the receiver ${title}`, async () => {
      receiver.always(answer)

      const error = await rejection(open().handle(deliveryOf(verdictMessage())))

      expect(error).to.be.instanceOf(RetryLaterError)
      expect(error.message).to.include(why)
      expect(await count('failed')).to.equal(1)
    })
  }

  it('tries again when nobody listens', async () => {
    const lane = open()
    await receiver.close()

    const error = await rejection(lane.handle(deliveryOf(verdictMessage())))

    expect(error).to.be.instanceOf(RetryLaterError)
    expect(describeError(error)).to.include('ECONNREFUSED')
  })

  it('never puts secrets into errors or the log', async () => {
    const url = receiver
      .url()
      .replace('//', '//user:pass-word@')
      .replace('/hook', '/path-token?k=q-token')
    receiver.script(answers.status(500), answers.reset, answers.status(410))
    const lane = open({ url })
    const said: string[] = []

    for (const _ of [1, 2, 3])
      said.push(describeError(await rejection(lane.handle(deliveryOf(verdictMessage())))))
    said.push(lane.status, ...logged)
    clock += pauseMs
    await lane.handle(deliveryOf(verdictMessage()))
    said.push(...logged, await registry.metrics())

    expect(receiver.requests).to.have.length(4)
    expect(said.join('\n')).to.not.match(/pass-word|path-token|q-token|whsec_|BwcHB|AQEBAQ/)
    expect(await registry.metrics()).to.not.include('a b+c')
  })

  it('leaves a message that shutdown interrupts uncounted', async () => {
    receiver.always(answers.never)
    const stop = new AbortController()
    const pending = rejection(open().handle(deliveryOf(verdictMessage(), { signal: stop.signal })))
    await eventually(() => receiver.requests.length === 1)

    stop.abort(new Error('shutdown'))

    expect((await pending).message).to.equal('shutdown')
    expect(await count('failed')).to.equal(0)
  })

  describe('after 410', () => {
    let lane: Deliverer
    beforeEach(async () => {
      receiver.script(answers.status(410))
      lane = open()
      expect(await rejection(lane.handle(deliveryOf(verdictMessage())))).to.be.instanceOf(
        OutageError,
      )
    })

    it('says so by metric and status, and burns no attempt', async () => {
      expect(await paused()).to.equal(1)
      expect(lane.status).to.match(
        /^endpoint crm \(127\.0\.0\.1:\d+\) is paused: it answered 410 Gone$/,
      )
      expect(await count('gone')).to.equal(1)
      expect(await count('failed')).to.equal(0)
    })

    it('sends nothing until the pause is over', async () => {
      clock += pauseMs - 1

      expect(await rejection(lane.handle(deliveryOf(verdictMessage())))).to.be.instanceOf(
        OutageError,
      )
      expect(await rejection(lane.probe(new Error()))).to.be.instanceOf(OutageError)
      expect(receiver.requests).to.have.length(1)
    })

    it('still drops what nobody wants to hear', async () => {
      await lane.handle(deliveryOf(verdictMessage('UNSCANNABLE')))

      expect(await count('dropped')).to.equal(1)
    })

    it('tries again after the pause, and is on again with the first good answer', async () => {
      clock += pauseMs

      await lane.probe(new Error())
      expect(await paused()).to.equal(1)
      await lane.handle(deliveryOf(verdictMessage()))

      expect(receiver.requests).to.have.length(2)
      expect(await paused()).to.equal(0)
      expect(lane.status).to.equal('on')
    })

    it('pauses again when the answer is 410 again', async () => {
      receiver.script(answers.status(410))
      clock += pauseMs

      await rejection(lane.handle(deliveryOf(verdictMessage())))

      expect(await rejection(lane.probe(new Error()))).to.be.instanceOf(OutageError)
      expect(logged.filter((line) => line.includes('endpoint paused'))).to.have.length(1)
    })

    it('is forgotten by a restart', async () => {
      registry = new Registry()

      await open().handle(deliveryOf(verdictMessage()))

      expect(receiver.requests).to.have.length(2)
    })
  })

  it('counts a message that is given up as dead', async () => {
    await open().giveUp(deliveryOf(verdictMessage()), new Error('500'))

    expect(await metric('avscan_notifier_dead_total', 'endpoint="crm"')).to.equal(1)
  })

  it('has the queue of its endpoint and the eight delays of a webhook', () => {
    const publish = open({ name: '' })
    registry = new Registry()

    expect(publish.queue).to.equal('avscan.notify')
    expect(open().queue).to.equal('avscan.notify.crm')
    expect(publish.retryDelaysMs.map((ms) => ms / 1000)).to.deep.equal([
      5, 30, 120, 600, 1800, 7200, 21600, 43200,
    ])
  })
})
