// A message of avscan.dead, read for people: when and why it died, where it comes from, what it is about. Pure.
import type { ConsumeMessage } from 'amqplib'
import { fromStoreHeader } from '../shared/consumer.ts'
import {
  decodeActionJob,
  decodeJobs,
  decodeOutMessage,
  decodeReconcileMessage,
  type ObjectRef,
} from '../shared/messages.ts'
import { printable } from '../shared/printable.ts'

export interface Letter {
  /** To the second; undefined when nobody wrote it down. */
  diedAt: Date | undefined
  /** Name of the error, or the broker's own word (`delivery_limit`); `unknown` when nothing says it. */
  reason: string
  /** It came through the exchange of the events. */
  fromStore: boolean
  /** The queue in which it died. */
  origin: string | undefined
  attempts: number | undefined
  /** The last error, if any; foreign text. */
  error: string
  objects: Pick<ObjectRef, 'bucket' | 'key' | 'versionId'>[]
  /** What it is when it names no object, in words; safe to print. */
  otherwise: string
  messageId: string | undefined
  type: string | undefined
  headers: Record<string, unknown>
  body: Buffer
}

/** @param eventExchange what the store publishes to */
export function readLetter(
  { content, properties }: Pick<ConsumeMessage, 'content' | 'properties'>,
  eventExchange: string,
): Letter {
  const headers: Record<string, unknown> = properties.headers ?? {}
  const text = (name: string) => {
    const value = headers[name]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const reason = text('avscan-reason')
  // What our consumers put there has no x-death any more; the broker's newest entry comes first.
  const death = reason === undefined ? deathsIn(headers)[0] : undefined
  // The newest death may be one on the way back from a retry; the oldest tells how it first came.
  const first = deathsIn(headers).at(-1)
  const attempts = Number(headers['avscan-attempts'] ?? headers['avscan-attempt'])
  return {
    diedAt: death === undefined ? dateOf(properties.timestamp) : dateOf(death['time']),
    reason: reason ?? wordOf(death?.['reason']) ?? 'unknown',
    fromStore: headers[fromStoreHeader] !== undefined || first?.['exchange'] === eventExchange,
    origin: text('avscan-origin') ?? wordOf(death?.['queue']),
    attempts: Number.isFinite(attempts) ? attempts : undefined,
    error: text('avscan-error') ?? '',
    ...readBody(content),
    messageId: wordOf(properties.messageId),
    type: wordOf(properties.type),
    headers,
    body: content,
  }
}

/** As the broker wrote them, newest first. */
function deathsIn(headers: Record<string, unknown>): Record<string, unknown>[] {
  const deaths: unknown[] = Array.isArray(headers['x-death']) ? headers['x-death'] : []
  return deaths.filter((one) => typeof one === 'object' && one !== null).map((one) => ({ ...one }))
}

function wordOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** Seconds, as a property; as a header amqplib wraps them: `{'!': 'timestamp', value: 1}`. */
function dateOf(value: unknown): Date | undefined {
  const seconds =
    typeof value === 'object' && value !== null && 'value' in value ? value.value : value
  if (typeof seconds !== 'number' || seconds <= 0) return undefined
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? undefined : date
}

type Contents = Pick<Letter, 'objects' | 'otherwise'>

function readBody(body: Buffer): Contents {
  const readers: ((body: Buffer) => Contents)[] = [
    (bytes) => ({
      objects: decodeJobs(bytes).map(({ object }) => object),
      otherwise: 'an event that asks for no scan',
    }),
    (bytes) => ({ objects: [decodeActionJob(bytes).object], otherwise: '' }),
    (bytes) => {
      const { bucketName, objectKey, versionId } = decodeOutMessage(bytes).data.s3ObjectDetails
      return { objects: [{ bucket: bucketName, key: objectKey, versionId }], otherwise: '' }
    },
    (bytes) => ({ objects: [], otherwise: decodeReconcileMessage(bytes).type }),
  ]
  for (const read of readers) {
    try {
      return read(body)
    } catch {
      // Another kind of message, or none of ours.
    }
  }
  return { objects: [], otherwise: `not ours: ${printable(body.toString('utf8', 0, 60))}` }
}
