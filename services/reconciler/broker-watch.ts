// A connection to the broker that carries nothing but questions: how full is a queue; and that notices when the broker goes away.
import type { Channel, ChannelModel } from 'amqplib'
import { connectWithRecovery } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import { toError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'

export interface BrokerWatch {
  /** Messages that wait in the queue; undefined when nobody can say (no connection, no right to ask). */
  depth(queue: string): Promise<number | undefined>
  close(): Promise<void>
}

/** `onLost` hears of each connection that was lost. @throws FatalError as connectWithRecovery does. */
export async function watchBroker(
  config: Config,
  onLost: (reason: string) => void,
  log: Log,
  signal: AbortSignal,
): Promise<BrokerWatch> {
  let model: ChannelModel | undefined
  let channel: Channel | undefined
  let isRefused = false
  let isClosing = false
  const connection = await connectWithRecovery(
    config,
    'watch',
    log,
    async (opened) => {
      model = opened
    },
    signal,
  )
  connection.on('disconnect', () => {
    model = undefined
    channel = undefined
    if (!isClosing) onLost('the connection to the broker was lost')
  })
  const open = async (): Promise<Channel | undefined> => {
    if (channel !== undefined || model === undefined) return channel
    const opened = await model.createChannel()
    opened.on('error', () => {})
    opened.on('close', () => {
      if (channel === opened) channel = undefined
    })
    channel = opened
    return opened
  }
  return {
    async depth(queue) {
      try {
        return (await (await open())?.checkQueue(queue))?.messageCount
      } catch (error) {
        // The channel is closed by it; the next question opens another.
        if (!isRefused && model !== undefined) {
          isRefused = true
          log.warn('the broker does not tell how full a queue is', { queue, error: toError(error) })
        }
        return undefined
      }
    },
    async close() {
      isClosing = true
      await connection.close()
    },
  }
}
