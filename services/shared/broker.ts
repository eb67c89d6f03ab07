// Connections to RabbitMQ: options, recovery, and a publisher that returns only when the broker has taken and routed the message.
// Consuming and publishing have a connection each: an alarm blocks the publishing one, and acks must go on.
import {
  connect,
  type ChannelModel,
  type ConfirmChannel,
  type Options,
  type RecoveringChannelModel,
} from 'amqplib'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from './config-schema.ts'
import {
  describeError,
  errorCode,
  FatalError,
  PublishError,
  toError,
  UnroutableError,
} from './errors.ts'
import type { Log } from './log.ts'
import { tlsProblem, trustedCas } from './trust.ts'

export interface Publication {
  exchange: string
  routingKey: string
  /**
   * More routing keys, which no receiver sees. Given, also empty, the message has to reach a queue only if there is one: who binds
   * to its routing key is then somebody else's affair.
   */
  alsoTo?: readonly string[]
  body: Buffer
  /** Deterministic, so that a receiver can drop what it has seen. */
  messageId?: string | undefined
  type?: string | undefined
  /** `x-*` headers are dropped: a copied `x-death` or `x-delivery-count` changes what the broker does with the message. */
  headers?: Record<string, unknown>
}

export interface Publisher {
  readonly connected: boolean
  /** @throws PublishError when the broker did not confirm in time, is away, or no queue took the message. */
  publish(publication: Publication): Promise<void>
  close(): Promise<void>
}

/** What amqplib needs to reach the configured broker as this service. */
export function amqpOptions(config: Config): {
  url: Options.Connect
  socket: Record<string, unknown>
} {
  const { host, port, vhost, user, password } = config.broker
  const tls = config.broker.tls ?? port !== 5672
  return {
    url: {
      protocol: tls ? 'amqps' : 'amqp',
      hostname: host,
      port,
      vhost,
      username: user,
      password,
      heartbeat: 10,
      frameMax: 131072,
    },
    socket: {
      timeout: 10_000,
      noDelay: true,
      ...(tls
        ? { servername: /^[\d.:]+$/.test(host) ? '' : host, ca: trustedCas(config.tls.ca) }
        : {}),
    },
  }
}

/** What only a person can mend, in words; undefined for what waiting can heal. */
export function permanentProblem(error: Error, config: Config): FatalError | undefined {
  if (error instanceof FatalError) return error
  const { host, port, user, vhost } = config.broker
  const where = `broker ${host}:${port}`
  const text = describeError(error)
  // A network error names a port, and a port may be called 5403; the broker's own answers carry no code in words.
  const answered = errorCode(error) === undefined
  const tls = tlsProblem(error)
  if (tls !== undefined)
    return new FatalError(
      `${where}: ${tls}`,
      'TLS is never switched off; 5672 is the port without it',
      { cause: error },
    )
  if (!answered) return undefined
  // Which of these it is must be asked in this order: most of the texts name the virtual host as well.
  if (/NOT[_-]FOUND/.test(text))
    return new FatalError(
      `${where}: ${text}`,
      'run `init broker`: it declares exchanges, queues and bindings',
      { cause: error },
    )
  if (/access to (queue|exchange|topic) '/.test(text))
    return new FatalError(
      `${where}: ${text}`,
      'run `init broker`: it gives each user its permissions',
      { cause: error },
    )
  // amqplib keeps the broker's reason to itself when it closes the connection at this step.
  if (/vhost|Expected ConnectionOpenOk; got <ConnectionClose/.test(text))
    return new FatalError(
      `${where} does not let "${user}" into the virtual host "${vhost}"`,
      'RABBITMQ_VHOST must be the one that `init broker` set up',
      { cause: error },
    )
  if (/ACCESS[_-]REFUSED/.test(text))
    return new FatalError(
      `${where} refuses the user "${user}"`,
      'user or password differ from what `init broker` created',
      { cause: error },
    )
  return undefined
}

const closeTimeoutMs = 5000

/**
 * What the broker answers. A quorum queue without a leader leaves a declaration or a consumer unanswered while the
 * connection's heartbeats go on.
 * @throws Error when it does not answer in time; the connection is then to be given up.
 */
export async function answered<T>(asking: Promise<T>, timeoutMs: number): Promise<T> {
  const timer = new AbortController()
  const late = sleep(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`the broker did not answer within ${timeoutMs} ms`)
  })
  try {
    return await Promise.race([asking, late])
  } finally {
    timer.abort()
    late.catch(() => {})
    asking.catch(() => {})
  }
}

/**
 * A connection that comes back by itself; `setup` runs on every new one.
 * @throws FatalError when the first connection meets what only a person can mend; waits for everything else.
 */
export async function connectWithRecovery(
  config: Config,
  purpose: string,
  log: Log,
  setup: (model: ChannelModel) => Promise<void>,
  signal?: AbortSignal,
): Promise<RecoveringChannelModel> {
  const { url, socket } = amqpOptions(config)
  const where = { host: config.broker.host, port: config.broker.port, purpose }
  let away = false
  const connection = await connect(url, {
    ...socket,
    clientProperties: { connection_name: `bucket-av-scanner ${purpose}` },
    recovery: {
      initialDelay: 200,
      maxDelay: 5000,
      waitForConnect: false,
      setup: async (model: ChannelModel) => {
        // setup runs before recovery listens: an 'error' that nobody hears ends the process, and a close that it has missed
        // it would never notice.
        let closed = false
        model.on('error', () => {})
        model.on('close', () => (closed = true))
        try {
          await setup(model)
          if (closed) throw new Error('the broker closed the connection at once')
        } catch (error) {
          // Before it tries again, recovery closes the connection and waits for the answer, for ever if it breaks meanwhile.
          const { stream } = model.connection as unknown as { stream: Duplex }
          await answered(model.close(), closeTimeoutMs).catch(() => stream.destroy())
          throw error
        }
      },
    },
  })
  const failed = new Promise<never>((_, reject) => {
    let connectedOnce = false
    connection.on('connect', () => {
      connectedOnce = true
      if (away) log.info('broker is back', where)
      away = false
    })
    connection.on('connect-failed', (error: Error) => {
      const permanent = connectedOnce ? undefined : permanentProblem(error, config)
      if (permanent !== undefined) {
        void connection.close()
        reject(permanent)
      } else if (!away) {
        away = true
        log.warn('broker cannot be reached, trying on', { ...where, error })
      }
    })
    signal?.addEventListener('abort', () => reject(toError(signal.reason)), { once: true })
  })
  failed.catch(() => {})
  connection.on('disconnect', (error: Error) => {
    if (away) return
    away = true
    log.warn('broker connection lost, reconnecting', { ...where, error })
  })
  connection.on('error', () => {})
  connection.on('blocked', (reason: string) =>
    log.warn('broker blocks publishing', { ...where, reason }),
  )
  connection.on('unblocked', () => log.info('broker takes messages again', where))
  try {
    await Promise.race([connection.waitForConnect(), failed])
  } catch (error) {
    await connection.close()
    throw error
  }
  return connection
}

/** A publisher on a connection of its own. @throws FatalError as connectWithRecovery does. */
export async function connectPublisher(
  config: Config,
  log: Log,
  signal?: AbortSignal,
): Promise<Publisher> {
  let channel: ConfirmChannel | undefined
  let sequence = 0
  let blocked = false
  const returned = new Set<string>()
  const waiting = new Set<(error: Error) => void>()

  const connection = await connectWithRecovery(
    config,
    'publish',
    log,
    async (model) => {
      const opened = await answered(model.createConfirmChannel(), config.broker.confirmTimeoutMs)
      opened.on('error', () => {})
      opened.on('return', (message: { properties: { headers?: Record<string, unknown> } }) => {
        returned.add(String(message.properties.headers?.['avscan-publish']))
      })
      opened.on('close', () => {
        if (channel !== opened) return
        channel = undefined
        for (const abandon of waiting)
          abandon(new PublishError('the broker closed the channel before it confirmed'))
        waiting.clear()
        // Recovery watches the connection only.
        model.close().catch(() => {})
      })
      channel = opened
    },
    signal,
  )
  connection.on('blocked', () => (blocked = true))
  connection.on('unblocked', () => (blocked = false))
  connection.on('disconnect', () => {
    blocked = false
    channel = undefined
    for (const abandon of waiting)
      abandon(new PublishError('the connection to the broker was lost before it confirmed'))
    waiting.clear()
  })

  return {
    get connected() {
      return channel !== undefined && !blocked
    },
    publish({ exchange, routingKey, alsoTo, body, messageId, type, headers = {} }) {
      const open = channel
      if (open === undefined) return Promise.reject(new PublishError('no connection to the broker'))
      const id = String(++sequence)
      const own = Object.fromEntries(
        Object.entries(headers).filter(([name]) => !name.toLowerCase().startsWith('x-')),
      )
      return new Promise<void>((resolve, reject) => {
        const settle = (error?: Error) => {
          clearTimeout(timer)
          waiting.delete(settle)
          if (returned.delete(id))
            reject(
              new UnroutableError(
                `no queue takes ${routingKey} from ${exchange}; run \`init broker\``,
              ),
            )
          else if (error === undefined) resolve()
          else reject(error)
        }
        const timer = setTimeout(() => {
          settle(
            new PublishError(
              `the broker did not confirm within ${config.broker.confirmTimeoutMs} ms`,
            ),
          )
        }, config.broker.confirmTimeoutMs)
        waiting.add(settle)
        try {
          open.publish(
            exchange,
            routingKey,
            body,
            {
              persistent: true,
              mandatory: alsoTo === undefined || alsoTo.length > 0,
              contentType: 'application/json',
              ...(messageId === undefined ? {} : { messageId }),
              ...(type === undefined ? {} : { type }),
              timestamp: Math.floor(Date.now() / 1000),
              headers: { ...own, 'avscan-publish': id },
              ...(alsoTo === undefined ? {} : { BCC: [...alsoTo] }),
            },
            (error: unknown) => {
              settle(
                error === null || error === undefined
                  ? undefined
                  : new PublishError(`the broker refused the message for ${exchange}`, {
                      cause: error,
                    }),
              )
            },
          )
        } catch (error) {
          settle(new PublishError('publish', { cause: error }))
        }
      })
    },
    async close() {
      await connection.close()
    },
  }
}
