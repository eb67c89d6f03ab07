// Goes through avscan.dead from its oldest message on without taking any away: what is not acked goes back in its order.
//
// A quorum queue gives a message that is returned out again first, so the only way past a message is to keep it in hand.
// basic.get would make a consumer of each message at the broker and a write to its log; a consumer with a prefetch costs
// neither. Its window grows only as far as messages are kept, by further consumers on the same channel.
import { connect, type Channel, type ChannelModel, type ConsumeMessage } from 'amqplib'
import { setTimeout as sleep } from 'node:timers/promises'
import { amqpOptions, permanentProblem } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import { describeError, FatalError, OutageError, toError } from '../shared/errors.ts'
import { names } from '../shared/topology.ts'

export interface DeadQueue {
  /** Messages that lay there when it was opened, without those that others have in hand. */
  readonly count: number
  /** Consumers of others when it was opened: somebody else looks or replays. */
  readonly others: number
  /** At most `count` messages, the oldest first. @throws OutageError when the connection is lost */
  read(): AsyncGenerator<ConsumeMessage, void>
  /** Returns when the broker has taken the ack. */
  ack(message: ConsumeMessage): Promise<void>
  /** Is there a queue of that name? */
  exists(name: string): Promise<boolean>
  /** Everything that was not acked goes back. */
  close(): Promise<void>
}

const everyMs = 50

// RabbitMQ takes what one nack names out of a map, and Erlang sorts only maps of so many keys.
const mostInOrder = 32
// Of more nacks than twice as many it makes one, as soon as its queue falls behind.
const mostAtOnce = 16
const returnedMs = 2000
const firstMs = 2000

/**
 * @param window messages that are fetched ahead, so as many bodies are in memory
 * @throws FatalError when there is no broker, queue or right
 */
export async function openDeadQueue(config: Config, window: number): Promise<DeadQueue> {
  const { host, port } = config.broker
  let [what, hint] = [`broker ${host}:${port} cannot be reached`, 'make status shows what runs']
  let model: ChannelModel | undefined
  try {
    const { url, socket } = amqpOptions(config)
    model = await connect(url, {
      ...socket,
      clientProperties: { connection_name: 'bucket-av-scanner dead letters' },
    })
    model.on('error', () => {})
    const channel = await model.createChannel()
    channel.on('error', () => {})
    const { consumerCount } = await channel.checkQueue(names.dead)
    // RabbitMQ tells a queue without a leader as empty, and one that starts, for seconds, as it likes. A get is answered by a
    // leader only, after everything before it, and with what the leader has left.
    what = `queue ${names.dead} of broker ${host}:${port} does not answer`
    hint = 'restart the broker; what is in the queue stays in it'
    const first = await channel.get(names.dead)
    if (first !== false) channel.nack(first, false, true)
    const count = first === false ? 0 : first.fields.messageCount + 1
    return new Reader(model, channel, window, count, consumerCount)
  } catch (thrown) {
    await model?.close().catch(() => {})
    throw permanentProblem(toError(thrown), config) ?? new FatalError(what, hint, { cause: thrown })
  }
}

class Reader implements DeadQueue {
  readonly count: number
  readonly others: number
  readonly #model: ChannelModel
  readonly #channel: Channel
  readonly #window: number
  readonly #tags: string[] = []
  /** Delivery tag → consumer, in the order of delivery: what the broker waits for. */
  readonly #inHand = new Map<number, string>()
  #arrived: ConsumeMessage[] = []
  #deliveries = 0
  #lost: OutageError | undefined
  #wake = () => {}

  constructor(
    model: ChannelModel,
    channel: Channel,
    window: number,
    count: number,
    others: number,
  ) {
    this.#model = model
    this.#channel = channel
    this.#window = window
    this.count = count
    this.others = others
    const lose = (error?: Error) => {
      this.#lost ??= new OutageError(
        'the connection to the broker was lost',
        error === undefined ? {} : { cause: error },
      )
      this.#wake()
    }
    channel.on('error', lose)
    channel.on('close', () => lose())
    model.on('close', (error?: Error) => lose(error))
  }

  async *read(): AsyncGenerator<ConsumeMessage, void> {
    for (let given = 0; given < this.count;) {
      const arrived = this.#arrived
      this.#arrived = []
      for (const message of arrived) {
        if (this.#lost !== undefined) throw this.#lost
        if (given++ >= this.count) break
        yield message
      }
      if (given >= this.count) return
      if (this.#tags.length * this.#window - this.#inHand.size < this.#window / 2)
        await this.#widen()
      if (this.#arrived.length === 0 && !(await this.#more())) return
    }
  }

  async ack(message: ConsumeMessage): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost
    this.#channel.ack(message)
    this.#inHand.delete(message.fields.deliveryTag)
    // Acks are not answered. This question on the same channel is, and after them.
    await this.#ask()
  }

  async exists(name: string): Promise<boolean> {
    // The broker closes the channel when there is none.
    const channel = await this.#model.createChannel()
    channel.on('error', () => {})
    try {
      await channel.checkQueue(name)
      await channel.close()
      return true
    } catch (error) {
      if (this.#lost !== undefined) throw this.#lost
      // RabbitMQ 4.3 says no more than that to somebody who has no right on the name: it is none of ours.
      if (/NOT[_-]FOUND|ACCESS[_-]REFUSED/.test(describeError(error))) return false
      throw error
    }
  }

  async close(): Promise<void> {
    try {
      if (this.#lost === undefined) await this.#giveBack()
      // RabbitMQ forgets what a connection.close follows at once; a closed channel has taken all of it.
      await this.#channel.close()
    } catch {
      // It is gone, and the broker gives everything back by itself.
    }
    await this.#model.close().catch(() => {})
  }

  async #widen(): Promise<void> {
    // Sorted as they were opened: the broker goes through them in the order of their names.
    const consumerTag = `dead-${process.pid}-${String(this.#tags.length).padStart(6, '0')}`
    this.#tags.push(consumerTag)
    try {
      await this.#channel.prefetch(this.#window)
      await this.#channel.consume(
        names.dead,
        (message) => {
          // The queue was deleted.
          if (message === null) {
            this.#channel.close().catch(() => {})
            return
          }
          this.#deliveries++
          this.#inHand.set(message.fields.deliveryTag, consumerTag)
          this.#arrived.push(message)
          this.#wake()
        },
        { consumerTag },
      )
    } catch (error) {
      throw this.#lost ?? new OutageError('look at the dead letters', { cause: error })
    }
  }

  /** Waits for deliveries; false when there are none to come, because others have the rest in hand, or have taken it. */
  async #more(): Promise<boolean> {
    const begun = performance.now()
    for (;;) {
      const before = this.#deliveries
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        if (this.#lost !== undefined) resolve()
        setTimeout(resolve, everyMs)
      })
      if (this.#lost !== undefined) throw this.#lost
      if (this.#arrived.length > 0) return true
      if ((await this.#ask()) > 0) continue
      // A queue that starts says that it is empty before it has delivered anything.
      if (this.#deliveries === 0 && performance.now() - begun < firstMs) continue
      // What was on its way when the queue said that it is empty is here before this pause is over.
      await sleep(everyMs)
      await this.#ask()
      if (this.#deliveries === before) return false
    }
  }

  /** How many are left at the broker; a round trip through the channel. */
  async #ask(): Promise<number> {
    try {
      return (await this.#channel.checkQueue(names.dead)).messageCount
    } catch (error) {
      throw this.#lost ?? new OutageError('ask for the dead letters', { cause: error })
    }
  }

  async #giveBack(): Promise<void> {
    // First no more deliveries, or what goes back would come again.
    await Promise.all(this.#tags.map((tag) => this.#channel.cancel(tag)))
    const inHand = [...this.#inHand]
    let ready = await this.#ask()
    let nacks = 0
    let run = 0
    for (const [index, [deliveryTag, consumerTag]] of inHand.entries()) {
      run++
      ready++
      if (inHand[index + 1]?.[1] === consumerTag && run < mostInOrder) continue
      this.#channel.nack({ fields: { deliveryTag } } as ConsumeMessage, true, true)
      run = 0
      // Somebody else takes them as they come back: there is no order to keep then.
      if (++nacks % mostAtOnce === 0 && !(await this.#returned(ready))) ready = -Infinity
    }
    await this.#ask()
  }

  async #returned(ready: number): Promise<boolean> {
    for (const begun = performance.now(); (await this.#ask()) < ready; await sleep(1))
      if (performance.now() - begun > returnedMs) return false
    return true
  }
}
