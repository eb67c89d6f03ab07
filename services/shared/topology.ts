// The broker's topology as data, the only place that knows it. `init broker` declares it; services only check that it is there.
// Arguments are frozen within a major version: RabbitMQ refuses to change them on an existing queue.
import type { Config } from './config-schema.ts'
import { allEndpoints } from './config-schema.ts'

export const names = {
  jobs: 'avscan.jobs',
  verdicts: 'avscan.verdicts',
  dead: 'avscan.dead',
  notify: 'avscan.notify',
  reconcile: 'avscan.reconcile',
} as const

export interface Exchange {
  name: string
  type: 'topic' | 'direct' | 'fanout'
}
export interface Queue {
  name: string
  arguments: Record<string, string | number>
}
export interface Binding {
  exchange: string
  queue: string
  key: string
}
export interface Topology {
  exchanges: Exchange[]
  queues: Queue[]
  bindings: Binding[]
}

/** Routing key on the verdicts exchange, and type of the message: the engines judge by other signatures now. */
export const signaturesUpdatedKey = 'signatures.updated'

const second = 1000
const minute = 60 * second
const hour = 60 * minute

/** Delays before attempts 2, 3, … of a job, in milliseconds before `retry.scale`. */
export const jobRetryDelaysMs = [1 * second, 10 * second, 1 * minute, 10 * minute]
/** The same for a webhook. */
export const webhookRetryDelaysMs = [
  5 * second,
  30 * second,
  2 * minute,
  10 * minute,
  30 * minute,
  2 * hour,
  6 * hour,
  12 * hour,
]

export function scaled(delaysMs: readonly number[], scale: number): number[] {
  return delaysMs.map((delay) => Math.max(1, Math.round(delay * scale)))
}

/** `90000` → `90s`, `600000` → `10m`; part of a queue's name, so another delay is another queue. */
export function delayName(delayMs: number): string {
  if (delayMs % hour === 0) return `${delayMs / hour}h`
  if (delayMs % minute === 0) return `${delayMs / minute}m`
  if (delayMs % second === 0) return `${delayMs / second}s`
  return `${delayMs}ms`
}

/** Fanout exchange whose queue gives a message back to `avscan.jobs`, routing key kept, after `delayMs`. */
export function retryExchange(delayMs: number): string {
  return `avscan.retry.${delayName(delayMs)}`
}

export function bulkQueue(config: Config): string {
  return `${config.broker.queue}.bulk`
}

export function actionsQueue(config: Config): string {
  return `${config.broker.queue}.actions`
}

/** Copies of the events that are old enough for their objects to have a verdict. */
export function spoolQueue(config: Config): string {
  return `${config.broker.queue}.spool`
}

/** Under this key the store publishes the durable copy of each event (its target SPOOL). */
export function spoolRoutingKey(config: Config): string {
  return `${config.broker.routingKey}.spool`
}

/** Where those copies wait until they are old enough. */
export function spoolHoldQueue(config: Config): string {
  const [delayMs = 1] = scaled([config.reconcile.afterMs], config.retry.scale)
  return `${spoolQueue(config)}.hold.${delayName(delayMs)}`
}

export function notifyQueue(endpointName: string): string {
  return endpointName === '' ? names.notify : `${names.notify}.${endpointName}`
}

// RabbitMQ 4 drops a message at its 21st return unless told otherwise, 3.10 never does: both get the same limit.
const deliveryLimit = 50

function workQueue(name: string): Queue {
  return {
    name,
    arguments: {
      'x-queue-type': 'quorum',
      'x-delivery-limit': deliveryLimit,
      'x-dead-letter-exchange': names.jobs,
      'x-dead-letter-routing-key': names.dead,
      // Dead-lettering is at-most-once by default: a broker killed meanwhile loses messages.
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
    },
  }
}

function retryQueue(delayMs: number): Queue {
  return {
    name: retryExchange(delayMs),
    arguments: {
      'x-queue-type': 'quorum',
      'x-message-ttl': delayMs,
      'x-dead-letter-exchange': names.jobs,
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
    },
  }
}

/** Gives each message to `spoolQueue` when it is `reconcile.afterMs` old. */
function holdQueue(config: Config): Queue {
  const [delayMs = 1] = scaled([config.reconcile.afterMs], config.retry.scale)
  return {
    name: spoolHoldQueue(config),
    arguments: {
      ...retryQueue(delayMs).arguments,
      'x-dead-letter-routing-key': spoolQueue(config),
    },
  }
}

/** Everything that must exist before the store publishes its first event. */
export function topology(config: Config): Topology {
  const { exchange, queue, routingKey } = config.broker
  const delays = [
    ...new Set(scaled([...jobRetryDelaysMs, ...webhookRetryDelaysMs], config.retry.scale)),
  ].toSorted((a, b) => a - b)
  const lanes = [
    queue,
    bulkQueue(config),
    actionsQueue(config),
    spoolQueue(config),
    names.reconcile,
  ]
  const notify = allEndpoints(config).map((endpoint) => notifyQueue(endpoint.name))
  return {
    exchanges: [
      { name: exchange, type: 'topic' },
      { name: names.jobs, type: 'direct' },
      { name: names.verdicts, type: 'topic' },
      ...delays.map((delay) => ({ name: retryExchange(delay), type: 'fanout' as const })),
    ],
    queues: [
      ...[...lanes, ...notify].map(workQueue),
      ...delays.map(retryQueue),
      holdQueue(config),
      { name: names.dead, arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000 } },
    ],
    bindings: [
      { exchange, queue, key: routingKey },
      { exchange, queue: spoolHoldQueue(config), key: spoolRoutingKey(config) },
      { exchange: names.verdicts, queue: names.reconcile, key: signaturesUpdatedKey },
      ...[...lanes, ...notify, names.dead].map((name) => ({
        exchange: names.jobs,
        queue: name,
        key: name,
      })),
      // Its name and not `#`: the worker names those who want a verdict, so that none is stored to be dropped.
      ...notify.map((name) => ({ exchange: names.verdicts, queue: name, key: name })),
      ...delays.map((delay) => ({
        exchange: retryExchange(delay),
        queue: retryExchange(delay),
        key: '',
      })),
    ],
  }
}
