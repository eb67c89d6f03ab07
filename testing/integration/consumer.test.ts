// The settle table on a real RabbitMQ: what each ending of a handler does to its message.
import { expect } from 'chai'
import { replayedHeader, type Delivery } from '../../services/shared/consumer.ts'
import {
  DiscardError,
  EngineUnavailableError,
  FatalError,
  NotBegunError,
  GiveWayError,
  RetryLaterError,
} from '../../services/shared/errors.ts'
import { bulkQueue, names } from '../../services/shared/topology.ts'
import { eventually } from '../support/eventually.ts'
import { connectionClose, startFrameProxy, type FrameProxy } from '../support/frame-proxy.ts'
import { noRabbitmq, startRabbitmq, type RealRabbitmq } from '../support/real-rabbitmq.ts'
import { rejection } from '../support/rejection.ts'
import { gate, openLane, recording, type TestLane } from '../support/shared-lane.ts'

describe('startConsumer on a real RabbitMQ', function () {
  this.timeout(60_000)
  let broker: RealRabbitmq
  let lane: TestLane

  before(async function () {
    if (noRabbitmq !== undefined) this.skip()
    broker = await startRabbitmq()
  })
  after(() => broker?.close())
  beforeEach(async () => {
    lane = await openLane(broker)
  })
  afterEach(() => lane.close())

  const emptied = (queue = lane.queue) =>
    eventually(async () => (await lane.depth(queue)) === 0, { timeoutMs: 20_000 })
  const closeConnections = async () => {
    const open = await eventually(
      async () => {
        const all = (await broker.api('GET', '/api/connections')) as {
          name: string
          vhost: string
        }[]
        const own = all.filter(({ vhost }) => vhost === lane.vhost)
        return own.length >= 3 && own
      },
      { timeoutMs: 20_000 },
    )
    for (const { name } of open || [])
      await broker.api('DELETE', `/api/connections/${encodeURIComponent(name)}`)
  }

  it('acks a message whose handler returns', async () => {
    const handler = recording(undefined)
    await lane.begin(handler)

    await lane.put('good')

    await eventually(() => handler.seen.length === 1)
    await emptied()
    expect(handler.seen[0]).to.include({
      attempt: 1,
      deliveries: 0,
      again: false,
      messageId: 'id-good',
      type: 'test',
    })
  })

  it('does not believe what is written into the headers of an event, nor a count before the first return', async () => {
    const handler = recording(undefined)
    await lane.begin(handler)
    const { exchange, routingKey } = lane.config.broker
    const headers = { 'x-delivery-count': 20, 'avscan-attempt': 5, 'avscan-replayed': 1 }

    lane.channel.publish(exchange, routingKey, Buffer.from('event'), { headers })
    await lane.put('job', { 'x-delivery-count': 20 })

    await eventually(() => handler.seen.length === 2)
    const fresh = { attempt: 1, deliveries: 0, again: false }
    const seen = new Map(handler.seen.map((delivery) => [delivery.body.toString(), delivery]))
    expect(seen.get('event')).to.include({ ...fresh, fromStore: true })
    expect(seen.get('event')?.headers).to.deep.equal({})
    expect(seen.get('job')).to.include({ ...fresh, fromStore: false })
  })

  it('puts a discarded message into avscan.dead with the reason and goes on', async () => {
    const handler = recording(new DiscardError('not JSON'), undefined)
    await lane.begin(handler)

    await lane.put('bad')
    await lane.put('good')

    const letter = await lane.dead()
    expect(letter).to.deep.include({ body: 'bad', messageId: 'id-bad' })
    expect(letter.headers).to.include({
      'avscan-origin': lane.queue,
      'avscan-reason': 'DiscardError',
      'avscan-attempts': 1,
      'avscan-error': 'not JSON',
    })
    await eventually(() => handler.bodies().includes('good'))
  })

  it('tries five times through the ladder, then gives up and dead-letters', async () => {
    const handler = recording(new Error('scan', { cause: new Error('broken') }))
    const givenUp: string[] = []
    await lane.begin({
      ...handler,
      giveUp: (delivery, error) => {
        givenUp.push(`${delivery.body.toString()} ${delivery.attempt} ${error.message}`)
        return Promise.reject(new Error('its failing stops nothing'))
      },
    })

    await lane.put('x')

    const letter = await lane.dead()
    expect(handler.attempts()).to.deep.equal([1, 2, 3, 4, 5])
    expect(givenUp).to.deep.equal(['x 5 scan'])
    expect(letter.headers).to.include({
      'avscan-attempts': 5,
      'avscan-reason': 'Error',
      'avscan-error': 'scan: broken',
    })
    await emptied()
  })

  it('carries id, type, own headers and the attempt over the ladder, and no x-header', async () => {
    const handler = recording(new Error('once'), undefined)
    await lane.begin(handler)

    await lane.put('x', { mine: 'kept', 'x-foreign': 'dropped', 'X-Death': 'dropped' })

    await eventually(() => handler.seen.length === 2)
    const second = handler.seen[1]
    expect(second).to.include({ messageId: 'id-x', type: 'test', routingKey: lane.queue })
    expect(second?.headers).to.include({ mine: 'kept', 'avscan-attempt': 2 })
    expect(second?.headers).not.to.have.any.keys('x-foreign', 'X-Death')
  })

  it('waits at least as long as the handler asks', async () => {
    const handler = recording(new RetryLaterError('later', { delayMs: 100 }), undefined)
    await lane.begin(handler)
    const begun = performance.now()

    await lane.put('x')

    await eventually(() => handler.seen.length === 2)
    // 100 ms is between the steps of 50 and 300 ms.
    expect(performance.now() - begun).to.be.within(295, 2900)
    expect(handler.attempts()).to.deep.equal([1, 2])
  })

  it('lets wait as long as it takes what is not the fault of the message', async () => {
    const busy = new RetryLaterError('busy', { delayMs: 10, counted: false })
    const handler = recording(...Array.from({ length: 8 }, () => busy), undefined)
    await lane.begin(handler)

    await lane.put('x')

    await eventually(() => handler.seen.length === 9, { timeoutMs: 20_000 })
    expect(new Set(handler.attempts())).to.deep.equal(new Set([1]))
    expect(handler.seen.at(-1)?.again).to.equal(false)
  })

  it('sends what gives way to the other lane, as it is', async () => {
    const handler = recording(new GiveWayError('others wait'))
    await lane.begin({ ...handler, giveWayTo: bulkQueue(lane.config) })

    await lane.put('x', { mine: 'kept' })

    const bulk = bulkQueue(lane.config)
    const moved = await eventually(() => lane.channel.get(bulk, { noAck: true }), {
      timeoutMs: 20_000,
    })
    expect(moved && moved.content.toString()).to.equal('x')
    expect(moved && moved.properties.headers).to.include({ mine: 'kept' })
    expect(moved && moved.properties.headers).not.to.have.any.keys('avscan-attempt')
    await emptied()
  })

  it('pauses on an outage, counts no attempt and fills no dead letters, and goes on when the probe succeeds', async () => {
    const handler = recording(new EngineUnavailableError('clamd away'), undefined)
    const reasons: string[] = []
    let works = false
    await lane.begin({
      ...handler,
      probe: (error) => {
        reasons.push(error.message)
        return works ? Promise.resolve() : Promise.reject(new Error('still away'))
      },
    })

    await lane.put('a')
    await eventually(() => reasons.length >= 2)
    await lane.put('b')
    expect(lane.consumer.lanes[0]).to.include({ running: 0, paused: 'still away' })
    expect(handler.bodies()).to.deep.equal(['a'])
    works = true

    await eventually(() => handler.seen.length === 3)
    expect(reasons[0]).to.equal('clamd away')
    expect(handler.attempts()).to.deep.equal([1, 1, 1])
    expect(handler.bodies().toSorted()).to.deep.equal(['a', 'a', 'b'])
    expect(lane.consumer.lanes[0]?.paused).to.equal(undefined)
    await emptied()
    expect(await lane.depth(names.dead)).to.equal(0)
  })

  it('takes nothing after a pause that was asked for from outside, until the probe succeeds', async () => {
    const handler = recording(undefined)
    let works = false
    await lane.begin({
      ...handler,
      probe: () => (works ? Promise.resolve() : Promise.reject(new Error('still away'))),
    })

    await lane.consumer.pause(new EngineUnavailableError('clamd away'), ['another'])
    const untouched = lane.consumer.lanes[0]?.paused
    await lane.consumer.pause(new EngineUnavailableError('clamd away'), [lane.queue])
    await lane.put('a')
    await eventually(() => lane.consumer.lanes[0]?.paused === 'still away')
    const during = handler.seen.length
    works = true

    await eventually(() => handler.seen.length === 1)
    expect([untouched, during]).to.deep.equal([undefined, 0])
  })

  it('says of a message that an outage put back that somebody has worked on it', async () => {
    const handler = recording(new EngineUnavailableError('away'), undefined)
    await lane.begin({ ...handler, probe: () => Promise.resolve() })

    await lane.put('x')

    await eventually(() => handler.seen.length === 2, { timeoutMs: 20_000 })
    expect(handler.seen.map(({ attempt, again }) => ({ attempt, again }))).to.deep.equal([
      { attempt: 1, again: false },
      { attempt: 1, again: true },
    ])
  })

  it('says so of one that was given back because its worker died, and of one that was replayed', async () => {
    const handler = recording(undefined, undefined)
    await lane.put('given back')
    const taken = await eventually(async () => (await lane.channel.get(lane.queue)) || undefined)
    if (taken !== undefined) lane.channel.nack(taken)
    await lane.begin(handler)
    await eventually(() => handler.seen.length === 1)
    await lane.put('replayed', { [replayedHeader]: 1 })
    await eventually(() => handler.seen.length === 2)

    expect(handler.seen.map(({ again }) => again)).to.deep.equal([true, true])
  })

  it('counts the tenth outage of one message as an attempt: the probe found all well each time', async () => {
    const handler = recording(new EngineUnavailableError('only for this one'), undefined)
    await lane.begin(handler)

    await lane.put('x', { 'avscan-outages': 9 })

    await eventually(() => handler.seen.length === 2)
    expect(handler.attempts()).to.deep.equal([1, 2])
    await emptied()
  })

  it('gives up a message whose outages have used up its attempts', async () => {
    await lane.begin(recording(new EngineUnavailableError('only for this one')))

    await lane.put('x', { 'avscan-outages': 9, 'avscan-attempt': 5 })

    expect((await lane.dead()).headers).to.include({ 'avscan-reason': 'EngineUnavailableError' })
  })

  it('does without last words that meet an outage each time while the probe finds all well', async () => {
    let words = 0
    await lane.begin({
      handle: () => Promise.reject(new Error('damaged')),
      giveUp: () => {
        words++
        return Promise.reject(new EngineUnavailableError('only for this one'))
      },
      probe: () => Promise.resolve(),
    })

    await lane.put('x', { 'avscan-attempt': 5 })

    const letter = await eventually(() => lane.dead(), { timeoutMs: 30_000 })
    expect(letter.headers).to.include({ 'avscan-reason': 'Error', 'avscan-error': 'damaged' })
    expect(words).to.equal(10)
  })

  it('never consumes twice after a failure at the very first delivery', async () => {
    for (const body of ['a', 'b', 'c', 'd']) await lane.put(body)
    let running = 0
    let most = 0
    let outages = 2
    let done = 0
    await lane.begin({
      async handle() {
        if (outages-- > 0) throw new EngineUnavailableError('away')
        most = Math.max(most, ++running)
        await new Promise((resolve) => setImmediate(resolve))
        running--
        done++
      },
    })

    await eventually(() => done === 4)
    expect(most).to.equal(1)
  })

  it('keeps a message whose retry no queue takes, without burning deliveries, until there is one', async () => {
    await lane.channel.unbindQueue('avscan.retry.5ms', 'avscan.retry.5ms', '')
    const handler = recording(new Error('fails'), undefined)
    await lane.begin(handler)

    await lane.put('x')
    await eventually(() => lane.consumer.lanes[0]?.paused !== undefined)
    expect(lane.consumer.lanes[0]?.paused).to.match(
      /no queue takes s3minioqueue from avscan.retry.5ms/,
    )
    expect(handler.seen).to.have.length(1)
    await lane.channel.bindQueue('avscan.retry.5ms', 'avscan.retry.5ms', '')

    await eventually(() => handler.seen.length === 2)
    expect(handler.attempts()).to.deep.equal([1, 2])
    expect(handler.seen.map(({ deliveries }) => deliveries)).to.deep.equal([0, 0])
    await emptied()
  })

  it('settles a message that was delivered twenty times as failed, without handling it', async () => {
    await lane.put('killer')
    for (let times = 0; times < 20; times++)
      await eventually(async () => {
        const message = await lane.channel.get(lane.queue)
        if (message === false) throw new Error('not back yet')
        lane.channel.nack(message, false, true)
      })
    const handler = recording(undefined)
    const givenUp: string[] = []
    await lane.begin({
      ...handler,
      giveUp: (delivery) => {
        givenUp.push(delivery.body.toString())
        return Promise.resolve()
      },
    })

    const letter = await lane.dead()
    expect(letter.headers).to.include({ 'avscan-reason': 'PoisonMessage' })
    expect(letter.headers).not.to.have.property('x-delivery-count', 20)
    expect(givenUp).to.deep.equal(['killer'])
    expect(handler.seen).to.deep.equal([])
  })

  it('waits for running handlers at shutdown and takes nothing new', async () => {
    const release = gate()
    const handled: string[] = []
    await lane.begin({
      async handle({ body }) {
        handled.push(body.toString())
        await release.opened
      },
    })
    await lane.put('first')
    await lane.put('second')
    await eventually(() => handled.length === 1)

    const stopping = lane.consumer.stop(10_000)
    release.open()

    expect(await stopping).to.equal(0)
    expect(handled).to.deep.equal(['first'])
    const left = await eventually(async () => {
      const message = await lane.channel.get(lane.queue, { noAck: true })
      if (message === false) throw new Error('not back yet')
      return message
    })
    expect(left.content.toString()).to.equal('second')
  })

  it('leaves a message whose work was not begun at shutdown, with its attempt', async () => {
    const release = gate()
    await lane.begin({
      async handle() {
        await release.opened
        throw new NotBegunError('still waiting for its turn')
      },
    })
    await lane.put('x')
    await eventually(() => lane.consumer.lanes[0]?.running === 1)

    const stopping = lane.consumer.stop(10_000)
    release.open()
    await stopping

    const back = await eventually(async () => {
      const message = await lane.channel.get(lane.queue, { noAck: true })
      if (message === false) throw new Error('not back yet')
      return message
    })
    expect(back.properties.headers).to.not.have.property('avscan-attempt')
    expect(await lane.depth(names.dead)).to.equal(0)
  })

  it('does not wait for the end of an outage at shutdown', async () => {
    await lane.begin({
      handle: () => Promise.reject(new EngineUnavailableError('away')),
      probe: () => Promise.reject(new EngineUnavailableError('still away')),
    })
    await lane.put('x')
    await eventually(() => lane.consumer.lanes[0]?.paused?.includes('still away') === true)
    const begun = Date.now()

    await lane.consumer.stop(30_000)

    expect(Date.now() - begun).to.be.lessThan(1000)
  })

  it('aborts what runs too long at shutdown and leaves its message to the broker', async () => {
    const reasons: unknown[] = []
    await lane.begin({
      handle: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason)
            reject(new DiscardError('cut off'))
          })
        }),
    })
    await lane.put('x')
    await eventually(() => lane.consumer.lanes[0]?.running === 1)

    const cut = await lane.consumer.stop(1)

    expect(cut).to.equal(1)
    expect(String(reasons[0])).to.equal('Error: shutdown')
    const back = await eventually(async () => {
      const message = await lane.channel.get(lane.queue, { noAck: true })
      if (message === false) throw new Error('not back yet')
      return message
    })
    expect(back.properties.headers).not.to.have.property('avscan-attempt')
    expect(await lane.channel.get(names.dead)).to.equal(false)
  })

  it('is given the message again when its connection is cut, and never runs it twice at a time', async () => {
    const deliveries: Delivery[] = []
    let running = 0
    let most = 0
    await lane.begin({
      async handle(delivery) {
        deliveries.push(delivery)
        most = Math.max(most, ++running)
        if (deliveries.length === 1)
          await new Promise<void>((resolve) => {
            delivery.signal.addEventListener('abort', () => resolve())
          })
        running--
      },
    })
    await lane.put('x')
    await eventually(() => deliveries.length === 1)

    await closeConnections()

    await eventually(() => deliveries.length === 2, { timeoutMs: 20_000 })
    expect(most).to.equal(1)
    expect(deliveries[1]).to.include({ attempt: 1, deliveries: 1 })
    await eventually(() => lane.consumer.ready && lane.publisher.connected)
    await emptied()
  })

  it('comes back by itself when the broker was killed and started again', async () => {
    const handler = recording(undefined)
    await lane.begin(handler)
    await lane.put('before')
    await emptied()

    await broker.keepQueues()
    await broker.kill()
    await eventually(() => !lane.consumer.ready && !lane.publisher.connected)
    await broker.start()

    await eventually(() => lane.consumer.ready && lane.publisher.connected, { timeoutMs: 30_000 })
    await lane.put('after')
    await eventually(() => handler.bodies().includes('after'))
  })

  it('consumes again after its queue was deleted and declared anew', async () => {
    const handler = recording(undefined)
    await lane.begin(handler)
    const path = `/api/queues/${lane.vhost}/${lane.queue}`
    const { arguments: args } = (await broker.api('GET', path)) as { arguments: object }

    await lane.channel.deleteQueue(lane.queue)
    await eventually(() => !lane.consumer.ready)
    await broker.api('PUT', path, { durable: true, arguments: args })
    await lane.channel.bindQueue(lane.queue, names.jobs, lane.queue)

    await eventually(() => lane.consumer.ready, { timeoutMs: 20_000 })
    await lane.put('anew')
    await eventually(() => handler.bodies().includes('anew'))
  })

  describe('when the broker misbehaves while a lane begins', () => {
    let proxy: FrameProxy
    afterEach(() => proxy?.close())
    const beginBehind = (handler: ReturnType<typeof recording>) => {
      const broken = { ...lane.config.broker, port: proxy.port, confirmTimeoutMs: 500 }
      return lane.begin(handler, { ...lane.config, broker: broken })
    }
    const works = async (handler: ReturnType<typeof recording>) => {
      await lane.put('x')
      await eventually(() => handler.bodies().includes('x'))
      expect(proxy.connections).to.equal(2)
    }

    it('begins on another connection when its declaration stays unanswered', async () => {
      const declareOk = '50.11'
      proxy = await startFrameProxy(broker.port, ({ method, bytes }, n) =>
        n === 1 && method === declareOk ? [] : [bytes],
      )
      const handler = recording(undefined)

      await beginBehind(handler)

      await works(handler)
    })

    it('begins on another connection when closing the first one stays unanswered', async () => {
      const [declareOk, close] = ['50.11', '10.50']
      proxy = await startFrameProxy(
        broker.port,
        ({ method, bytes }, n) => (n === 1 && method === declareOk ? [] : [bytes]),
        ({ method }, n) => n !== 1 || method !== close,
      )
      const handler = recording(undefined)

      await beginBehind(handler)

      await works(handler)
    })

    it('notices a connection that is closed in the moment in which it begins', async () => {
      const consumeOk = '60.21'
      proxy = await startFrameProxy(broker.port, ({ method, bytes }, n) =>
        n === 1 && method === consumeOk ? [bytes, connectionClose()] : [bytes],
      )
      const handler = recording(undefined)

      await beginBehind(handler)

      await works(handler)
    })
  })

  it('refuses to start without its queue and says what makes it', async () => {
    await lane.channel.deleteQueue(lane.queue)

    const error = await rejection(lane.begin(recording(undefined)))

    expect(error).to.be.instanceOf(FatalError)
    expect(error.message).to.match(/NOT_FOUND - no queue 's3minioqueue'/)
    expect(error).to.have.property(
      'hint',
      'run `init broker`: it declares exchanges, queues and bindings',
    )
  })

  it('gives each lane its own messages back from the ladder they share', async () => {
    const bulk = `${lane.queue}.bulk`
    const own = recording(new Error('x'), undefined)
    await lane.begin(own)
    lane.channel.publish(names.jobs, bulk, Buffer.from('of bulk'))
    await lane.put('of live')
    lane.channel.publish('avscan.retry.5ms', bulk, Buffer.from('bulk by ladder'))

    await eventually(() => own.seen.length === 2)
    await eventually(async () => (await lane.channel.checkQueue(bulk)).messageCount === 2)
    expect(own.bodies()).to.deep.equal(['of live', 'of live'])
  })
})
