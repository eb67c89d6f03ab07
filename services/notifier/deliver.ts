// One endpoint: a message of its queue becomes a signed POST, and the receiver's answer becomes the message's fate.
//
//   not wanted             ack, nothing sent
//   2xx                    ack
//   410                    the endpoint pauses: messages stay in its queue, no attempt is counted; tried again after
//                          `pauseMs` or a restart, and the first other answer ends the pause
//   anything else, redirects included, or no answer in time
//                          tried again on the ladder, not before Retry-After; at last avscan.dead
import { createHash } from 'node:crypto'
import type { EndpointConfig } from '../shared/config-schema.ts'
import type { Delivery, Lane } from '../shared/consumer.ts'
import { DiscardError, errorCode, OutageError, RetryLaterError, toError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import { decodeOutMessage, type OutMessage } from '../shared/messages.ts'
import { notifyQueue, webhookRetryDelaysMs } from '../shared/topology.ts'
import { tlsProblem } from '../shared/trust.ts'
import type { EndpointMetrics } from './metrics.ts'
import type { Answer, Poster } from './post.ts'
import { signedHeaders } from './sign.ts'
import { wants } from '../shared/wants.ts'
import { webhookBody } from './webhook-body.ts'

/** How long after a 410 the receiver is tried again; before `retry.scale`. */
export const pauseAfterGoneMs = 10 * 60 * 1000

/** What people and metrics call an endpoint: PUBLISH_URL has no name of its own. */
export function endpointLabel(endpoint: EndpointConfig): string {
  return endpoint.name === '' ? 'PUBLISH_URL' : endpoint.name
}

/** The receiver answered 410: nothing is sent until the pause is over. */
export class EndpointGoneError extends OutageError {
  override name = 'EndpointGoneError'
  override readonly endless = true
}

export interface DelivererOptions {
  /** Missing when the endpoint is off: everything is dropped. */
  poster: Poster | undefined
  concurrency: number
  pauseMs: number
  metrics: EndpointMetrics
  log: Log
  now?: () => number
}

export interface Deliverer extends Lane {
  handle(delivery: Delivery): Promise<void>
  giveUp(delivery: Delivery, error: Error): Promise<void>
  probe(error: Error): Promise<void>
  /** For /readyz and `make status`: `on`, `off`, or why it is paused. */
  readonly status: string
}

/** The lane that serves `endpoint`'s queue. */
export function createDeliverer(endpoint: EndpointConfig, options: DelivererOptions): Deliverer {
  const { poster, metrics, log, now = Date.now } = options
  const label = endpointLabel(endpoint)
  let pausedUntil: number | undefined

  const gone = () =>
    new EndpointGoneError(`endpoint ${label} (${poster?.host}) is paused: it answered 410 Gone`)

  const decode = (body: Buffer): OutMessage => {
    try {
      return decodeOutMessage(body)
    } catch (error) {
      if (error instanceof DiscardError) metrics.dead()
      throw error
    }
  }

  /** The answer, or the error with which the message is tried again. */
  const send = async (to: Poster, body: Buffer, id: string, signal: AbortSignal) => {
    const begun = now()
    try {
      return await to.post(body, { ...signedHeaders(endpoint.secret, id, body, begun) }, signal)
    } catch (thrown) {
      // Shutdown, not the receiver: the broker redelivers.
      if (signal.aborted) throw toError(thrown)
      metrics.delivery('failed')
      throw noAnswer(label, to.host, toError(thrown))
    } finally {
      if (!signal.aborted) metrics.duration((now() - begun) / 1000)
    }
  }

  const judge = (to: Poster, { status, retryAfterMs }: Answer) => {
    if (status === 410) {
      if (pausedUntil === undefined)
        log.warn('endpoint paused: its receiver answered 410 Gone', {
          endpoint: label,
          host: to.host,
          pauseMs: options.pauseMs,
        })
      pausedUntil = now() + options.pauseMs
      metrics.paused(true)
      metrics.delivery('gone')
      throw gone()
    }
    if (pausedUntil !== undefined) log.info('endpoint answers again', { endpoint: label })
    pausedUntil = undefined
    metrics.paused(false)
    if (status >= 200 && status < 300) return metrics.delivery('delivered')
    metrics.delivery('failed')
    const redirect = status >= 300 && status < 400 ? ' (redirects are not followed)' : ''
    throw new RetryLaterError(`endpoint ${label} (${to.host}) answered ${status}${redirect}`, {
      delayMs: retryAfterMs ?? 0,
    })
  }

  return {
    queue: notifyQueue(endpoint.name),
    prefetch: options.concurrency,
    retryDelaysMs: webhookRetryDelaysMs,
    get status() {
      if (poster === undefined) return 'off'
      return pausedUntil === undefined ? 'on' : gone().message
    },
    async handle(delivery) {
      if (poster === undefined) return metrics.delivery('dropped')
      const message = decode(delivery.body)
      if (!wants(endpoint, message)) return metrics.delivery('dropped')
      if (pausedUntil !== undefined && now() < pausedUntil) throw gone()
      const id = delivery.messageId ?? contentId(delivery.body)
      const begun = now()
      const body = webhookBody(endpoint.format, delivery.body, message)
      judge(poster, await send(poster, body, id, delivery.signal))
      log.info('webhook delivered', {
        endpoint: label,
        id,
        type: message.type,
        bucket: message.data.s3ObjectDetails.bucketName,
        key: message.data.s3ObjectDetails.objectKey,
        attempt: delivery.attempt,
        durationMs: now() - begun,
      })
    },
    async giveUp() {
      metrics.dead()
    },
    /** There is nothing harmless to ask a receiver with: after the pause the next message is the question. */
    async probe() {
      if (pausedUntil !== undefined && now() < pausedUntil) throw gone()
    },
  }
}

/** A message that somebody published by hand has no id; its bytes give it one that is stable over retries. */
function contentId(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex').slice(0, 32)
}

function noAnswer(label: string, host: string, cause: Error): RetryLaterError {
  const late = cause.name === 'TimeoutError' || errorCode(cause) === 'UND_ERR_CONNECT_TIMEOUT'
  const why = late ? 'did not answer in time' : (tlsProblem(cause) ?? 'gave no answer')
  return new RetryLaterError(`endpoint ${label} (${host}) ${why}`, { cause })
}
