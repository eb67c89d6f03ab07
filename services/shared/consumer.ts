// Deliver → handle → settle. What a handler's ending does to its message:
//
//   returns              ack (everything the handler published is confirmed by then)
//   DiscardError         to avscan.dead, ack
//   RetryLaterError, any other error
//                        to the retry ladder with attempt + 1 (uncounted: as it is), ack; after the last attempt: giveUp, avscan.dead, ack
//   OutageError          to the ladder with the attempt unchanged, ack; the lane pauses until its probe succeeds.
//                        The tenth for the same message counts as an attempt: what looks like an outage for one message
//                        while the probe finds all well is that message's own trouble
//   GiveWayError         to the lane's `giveWayTo`, as it is, ack
//   NotBegunError, shutdown
//                        unsettled: the broker redelivers
//
// Never nack(requeue) for a retry: RabbitMQ 4.3 does not count it and the message would spin.
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { answered, connectWithRecovery, type Publisher } from './broker.ts'
import type { Config } from './config-schema.ts'
import {
  describeError,
  DiscardError,
  EngineUnavailableError,
  GiveWayError,
  NotBegunError,
  OutageError,
  RetryLaterError,
  toError,
} from './errors.ts'
import type { Log } from './log.ts'
import { names, retryExchange, scaled } from './topology.ts'

export interface Delivery {
  body: Buffer
  /** 1 for the first try; outages and shutdowns are not counted. */
  attempt: number
  /** How often the broker has delivered this copy before (`x-delivery-count`): high for one that kills workers. */
  deliveries: number
  /**
   * Somebody has worked on this message before, perhaps to its last step but one: redelivered, retried, put back by an
   * outage, or replayed.
   */
  again: boolean
  /** It came through the exchange of the events, now or before it was retried, died or was replayed. */
  fromStore: boolean
  messageId: string | undefined
  type: string | undefined
  routingKey: string
  headers: Record<string, unknown>
  /** Aborted when shutdown has waited long enough or the channel is gone. */
  signal: AbortSignal
  /** What the message is about, for the log; the handler knows after it has decoded it. */
  about?: string
}

export interface Lane {
  queue: string
  /** Messages at a time. */
  prefetch: number
  /** Delay before attempts 2, 3, …; their number + 1 is the number of attempts. Before `retry.scale`. */
  retryDelaysMs: readonly number[]
  handle(delivery: Delivery): Promise<void>
  /** The queue that a message goes to when its handler throws a GiveWayError. */
  giveWayTo?: string
  /** Last words before the message goes to avscan.dead; its failing stops nothing but an outage. */
  giveUp?(delivery: Delivery, error: Error): Promise<void>
  /** Resolves when what failed works again; called until it does. */
  probe?(error: Error): Promise<void>
}

export interface LaneState {
  queue: string
  running: number
  /** Why nothing is consumed at the moment; undefined while it is. */
  paused: string | undefined
}

export interface Consumer {
  readonly ready: boolean
  readonly lanes: LaneState[]
  /** As if a message of each of these queues had met this outage: nothing is taken until the lane's probe succeeds. */
  pause(error: OutageError, queues: readonly string[]): Promise<void>
  /** Takes nothing new, waits for what runs, aborts it after `timeoutMs`, closes. Returns how many were cut off. */
  stop(timeoutMs: number): Promise<number>
}

const outagesPerAttempt = 10

/** Set by whoever sends a message of avscan.dead back to its queue. */
export const replayedHeader = 'avscan-replayed'
/** Kept with what came through the exchange of the events, for its way back leads through ours. */
export const fromStoreHeader = 'avscan-from-store'

/** From here on a message is taken to be one that kills its worker: it is settled as failed before any work. */
export const maxDeliveries = 20

/** @throws FatalError when a queue is missing or the broker refuses us (see connectWithRecovery). */
export async function startConsumer(
  config: Config,
  lanes: readonly Lane[],
  publisher: Publisher,
  log: Log,
  signal?: AbortSignal,
): Promise<Consumer> {
  const runners = lanes.map(
    (lane) =>
      new LaneRunner(
        lane,
        scaled(lane.retryDelaysMs, config.retry.scale),
        config.broker,
        publisher,
        log,
      ),
  )
  const connection = await connectWithRecovery(
    config,
    'consume',
    log,
    async (model) => {
      for (const runner of runners) await runner.attach(model)
    },
    signal,
  )
  connection.on('disconnect', () => {
    for (const runner of runners) runner.detach()
  })
  return {
    get ready() {
      return runners.every((runner) => runner.attached)
    },
    get lanes() {
      return runners.map((runner) => runner.state)
    },
    async pause(error, queues) {
      const named = runners.filter(({ state }) => queues.includes(state.queue))
      await Promise.all(named.map((runner) => runner.pause(error)))
    },
    async stop(timeoutMs) {
      await Promise.all(runners.map((runner) => runner.cancel()))
      const idle = Promise.all(runners.map((runner) => runner.idle()))
      await Promise.race([idle, sleep(timeoutMs, undefined, { ref: false })])
      const cut = runners.reduce((sum, runner) => sum + runner.state.running, 0)
      for (const runner of runners) runner.abort(new Error('shutdown'))
      await Promise.race([idle, sleep(1000, undefined, { ref: false })])
      // RabbitMQ forgets an ack that a connection.close follows at once; a closed channel has taken all of its acks.
      const closed = Promise.all(runners.map((runner) => runner.close()))
      await Promise.race([closed, sleep(1000, undefined, { ref: false })])
      await connection.close()
      return cut
    },
  }
}

class LaneRunner {
  readonly #lane: Lane
  readonly #delaysMs: readonly number[]
  readonly #answerTimeoutMs: number
  readonly #eventExchange: string
  readonly #publisher: Publisher
  readonly #log: Log
  readonly #running = new Set<Promise<void>>()
  /** How often the last words about a message met an outage. */
  readonly #lastWords = new WeakMap<Delivery, number>()
  #model: ChannelModel | undefined
  #channel: Channel | undefined
  #tag: string | undefined
  #abort = new AbortController()
  #paused: string | undefined
  readonly #stop = new AbortController()
  /** Settled when the pause is over. */
  #resumed: Promise<void> = Promise.resolve()

  constructor(
    lane: Lane,
    delaysMs: readonly number[],
    broker: Config['broker'],
    publisher: Publisher,
    log: Log,
  ) {
    this.#lane = lane
    this.#delaysMs = delaysMs
    this.#answerTimeoutMs = broker.confirmTimeoutMs
    this.#eventExchange = broker.exchange
    this.#publisher = publisher
    this.#log = log.child({ queue: lane.queue })
  }

  get attached(): boolean {
    return this.#channel !== undefined
  }

  get state(): LaneState {
    return { queue: this.#lane.queue, running: this.#running.size, paused: this.#paused }
  }

  async attach(model: ChannelModel): Promise<void> {
    // Work begun on the old channel can no longer be settled; wait for it so that concurrency does not double.
    this.abort(new Error('channel lost'))
    await this.idle()
    this.#abort = new AbortController()
    await answered(this.#open(model), this.#answerTimeoutMs)
  }

  async #open(model: ChannelModel): Promise<void> {
    const channel = await model.createChannel()
    channel.on('error', (error: Error) => this.#log.warn('channel error', { error }))
    channel.on('close', () => {
      if (this.#channel !== channel) return
      this.detach()
      // Recovery watches the connection only: one way back for every kind of loss.
      if (!this.#stop.signal.aborted) model.close().catch(() => {})
    })
    await channel.prefetch(this.#lane.prefetch)
    await channel.checkQueue(this.#lane.queue)
    this.#channel = channel
    this.#model = model
    if (this.#paused === undefined && !this.#stop.signal.aborted) await this.#consume(channel)
  }

  detach(): void {
    this.#channel = undefined
    this.#tag = undefined
    this.abort(new Error('channel lost'))
  }

  abort(reason: Error): void {
    this.#abort.abort(reason)
  }

  async cancel(): Promise<void> {
    this.#stop.abort(new Error('shutdown'))
    await this.#cancel()
  }

  async close(): Promise<void> {
    try {
      await this.#channel?.close()
    } catch {
      // It is closed already.
    }
  }

  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  async #consume(channel: Channel): Promise<void> {
    // Our own tag, known before the first delivery: its failure may have to cancel us at once.
    const consumerTag = randomUUID()
    this.#tag = consumerTag
    const take = (message: ConsumeMessage | null) => {
      // An exception in this callback would end the connection; nothing here throws.
      if (message === null) {
        this.#log.warn('the broker cancelled the consumer, reconnecting')
        channel.close().catch(() => {})
        return
      }
      if (this.#stop.signal.aborted || this.#channel !== channel) return
      const run = this.#run(channel, message).finally(() => this.#running.delete(run))
      this.#running.add(run)
    }
    await channel.consume(this.#lane.queue, take, { consumerTag })
  }

  async #cancel(): Promise<void> {
    const tag = this.#tag
    this.#tag = undefined
    if (tag === undefined || this.#channel === undefined) return
    try {
      await answered(this.#channel.cancel(tag), this.#answerTimeoutMs)
    } catch {
      // The channel is gone, and the consumer with it.
    }
  }

  async #run(channel: Channel, message: ConsumeMessage): Promise<void> {
    const isEvent = message.fields.exchange === this.#eventExchange
    // Whoever may publish events writes their headers as well, and there ours mean nothing.
    const headers = isEvent ? {} : (message.properties.headers ?? {})
    const attempt = Math.max(1, Number(headers['avscan-attempt'] ?? 1) || 1)
    // The broker counts from the first return on; before that it is what somebody has written.
    const counted = message.fields.redelivered ? message.properties.headers : undefined
    const deliveries = Number(counted?.['x-delivery-count'] ?? 0) || 0
    const delivery: Delivery = {
      body: message.content,
      attempt,
      deliveries,
      again:
        attempt > 1 ||
        deliveries > 0 ||
        message.fields.redelivered ||
        Number(headers['avscan-outages'] ?? 0) > 0 ||
        headers[replayedHeader] !== undefined,
      fromStore: isEvent || headers[fromStoreHeader] !== undefined,
      messageId: message.properties.messageId as string | undefined,
      type: message.properties.type as string | undefined,
      routingKey: message.fields.routingKey,
      headers,
      signal: this.#abort.signal,
    }
    let failure: Error | undefined
    try {
      if (delivery.deliveries >= maxDeliveries)
        throw new GiveUp(
          `delivered ${delivery.deliveries} times without an end: it stops its workers`,
        )
      await this.#lane.handle(delivery)
    } catch (thrown) {
      failure = toError(thrown)
    }
    // A late settle on a dead channel would close the new one's connection; the broker redelivers anyway.
    if (this.#channel !== channel || delivery.signal.aborted || failure instanceof NotBegunError) {
      this.#log.debug('left unsettled, the broker redelivers')
      return
    }
    for (;;) {
      try {
        await this.#settle(delivery, message, failure)
        if (this.#channel === channel) channel.ack(message)
        return
      } catch (error) {
        // Not confirmed anywhere else: it stays where it is, unsettled. Giving it back would count as a delivery,
        // and an outage of the broker must not make poison of it.
        await this.pause(toError(error))
        await Promise.race([this.#resumed, aborted(delivery.signal)])
        if (this.#channel !== channel || delivery.signal.aborted || this.#stop.signal.aborted)
          return
      }
    }
  }

  async #settle(
    delivery: Delivery,
    message: ConsumeMessage,
    failure: Error | undefined,
  ): Promise<void> {
    if (failure === undefined) return
    if (failure instanceof DiscardError) {
      this.#log.warn('message discarded', { about: delivery.about, error: failure })
      await this.#dead(delivery, message, failure)
    } else if (failure instanceof GiveWayError && this.#lane.giveWayTo !== undefined) {
      this.#log.info('gives way to others', { about: delivery.about, to: this.#lane.giveWayTo })
      await this.#publisher.publish({
        ...this.#copy(delivery, message),
        exchange: names.jobs,
        routingKey: this.#lane.giveWayTo,
        headers: keptHeaders(delivery),
      })
    } else if (failure instanceof OutageError) {
      await this.pause(failure)
      const outages = Number(delivery.headers['avscan-outages'] ?? 0) + 1
      if (outages >= outagesPerAttempt && !failure.endless)
        return this.#failed(delivery, message, failure)
      const delayMs = this.#delaysMs[0] ?? 1000
      await this.#retry(delivery, message, delivery.attempt, delayMs, failure, outages)
    } else {
      await this.#failed(delivery, message, failure)
    }
  }

  /** A counted attempt: up the ladder, or at its end to avscan.dead. */
  async #failed(delivery: Delivery, message: ConsumeMessage, failure: Error): Promise<void> {
    const isLater = failure instanceof RetryLaterError
    const counted = !isLater || failure.counted
    const delayMs =
      failure instanceof GiveUp ? undefined : this.#delaysMs[counted ? delivery.attempt - 1 : 0]
    if (delayMs === undefined) {
      await this.#giveUp(delivery, failure)
      await this.#dead(delivery, message, failure)
    } else {
      const asked = isLater ? (failure.delayMs ?? 0) : 0
      const step =
        this.#delaysMs.find((delay) => delay >= Math.max(asked, delayMs)) ??
        this.#delaysMs.at(-1) ??
        delayMs
      this.#log[counted ? 'warn' : 'debug']('attempt failed, will try again', {
        about: delivery.about,
        attempt: delivery.attempt,
        delayMs: step,
        error: failure,
      })
      await this.#retry(delivery, message, delivery.attempt + (counted ? 1 : 0), step, failure)
    }
  }

  async #giveUp(delivery: Delivery, failure: Error): Promise<void> {
    if (!this.#lastWords.has(delivery))
      this.#log.error('given up', {
        about: delivery.about,
        attempts: delivery.attempt,
        error: failure,
      })
    try {
      await this.#lane.giveUp?.(delivery, failure)
    } catch (error) {
      // An outage again and again while the probe finds all well is this message's own trouble here too;
      // without a bound it would keep its place for ever, and a few of them the whole lane.
      const outages = (this.#lastWords.get(delivery) ?? 0) + 1
      this.#lastWords.set(delivery, outages)
      if (error instanceof OutageError && outages < outagesPerAttempt) throw error
      this.#log.error('giving up did not go all the way', { about: delivery.about, error })
    }
  }

  #retry(
    delivery: Delivery,
    message: ConsumeMessage,
    attempt: number,
    delayMs: number,
    failure: Error,
    outages = 0,
  ): Promise<void> {
    return this.#publisher.publish({
      ...this.#copy(delivery, message),
      exchange: retryExchange(delayMs),
      routingKey: this.#lane.queue,
      headers: {
        ...keptHeaders(delivery),
        'avscan-attempt': attempt,
        'avscan-outages': outages,
        'avscan-error': describeError(failure).slice(0, 1000),
      },
    })
  }

  #dead(delivery: Delivery, message: ConsumeMessage, failure: Error): Promise<void> {
    return this.#publisher.publish({
      ...this.#copy(delivery, message),
      exchange: names.jobs,
      routingKey: names.dead,
      headers: {
        ...keptHeaders(delivery),
        'avscan-origin': this.#lane.queue,
        'avscan-reason': failure.name,
        'avscan-attempts': delivery.attempt,
        'avscan-error': describeError(failure).slice(0, 1000),
      },
    })
  }

  #copy(delivery: Delivery, message: ConsumeMessage) {
    return { body: message.content, messageId: delivery.messageId, type: delivery.type }
  }

  /** Stops consuming and starts the loop that waits for the probe; a second call while it runs does nothing. */
  async pause(error: Error): Promise<void> {
    if (this.#paused !== undefined || this.#stop.signal.aborted) return
    this.#paused = describeError(error)
    this.#log[levelOf(error, 'warn')]('paused until it works again', { error })
    const cancelled = this.#cancel()
    this.#resumed = this.#resume(error, cancelled)
    await cancelled
  }

  async #resume(error: Error, cancelled: Promise<void>): Promise<void> {
    const since = Date.now()
    await cancelled
    for (let delayMs = 250; !this.#stop.signal.aborted; delayMs = Math.min(delayMs * 2, 5000)) {
      // Shutdown does not wait for an outage to end.
      await sleep(delayMs, undefined, { ref: false, signal: this.#stop.signal }).catch(() => {})
      if (this.#stop.signal.aborted) return
      try {
        if (!this.#publisher.connected) continue
        await this.#lane.probe?.(error)
      } catch (thrown) {
        this.#paused = describeError(thrown)
        continue
      }
      this.#paused = undefined
      this.#log[levelOf(error, 'info')]('works again, consuming', { outageMs: Date.now() - since })
      const channel = this.#channel
      if (channel === undefined || this.#stop.signal.aborted) return
      try {
        await answered(this.#consume(channel), this.#answerTimeoutMs)
      } catch (thrown) {
        this.#log.warn('consume', { error: toError(thrown) })
        this.#model?.close().catch(() => {})
      }
      return
    }
  }
}

function keptHeaders({ headers, fromStore }: Delivery): Record<string, unknown> {
  return fromStore ? { ...headers, [fromStoreHeader]: 1 } : headers
}

/** An outage of the engine is told once by the engine, not by each lane that it stops. */
function levelOf(error: Error, usual: 'warn' | 'info'): 'warn' | 'info' | 'debug' {
  return error instanceof EngineUnavailableError ? 'debug' : usual
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

class GiveUp extends Error {
  override name = 'PoisonMessage'
}
