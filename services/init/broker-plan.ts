// What `init broker` compares and wants, as pure functions: differences of arguments, rights, dangerous policies.
import type { Config } from '../shared/config-schema.ts'
import { allEndpoints } from '../shared/config-schema.ts'
import {
  actionsQueue,
  bulkQueue,
  names,
  notifyQueue,
  spoolQueue,
  topology,
  type Exchange,
  type Queue,
} from '../shared/topology.ts'

export interface Rights {
  configure: string
  write: string
  read: string
}

// '^$' and not '': RabbitMQ reads an empty one as no right as well, but `set_permissions` shows it as nothing.
const nothing = '^$'

function exactly(...wanted: string[]): string {
  const escaped = wanted.map((name) => name.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))
  return `^(${escaped.join('|')})$`
}

/** Those who get rights in our vhost. */
export const brokerUsers = ['store', 'avscan', 'notifier', 'reconciler', 'storeAudit'] as const
export type BrokerUser = (typeof brokerUsers)[number]

/** What each identity may do in our vhost; nobody but the store, which declares its exchange, may configure. */
export function brokerRights(config: Config): Record<BrokerUser, Rights> {
  const { exchange, queue } = config.broker
  const retry = topology(config)
    .exchanges.map((one) => one.name)
    .filter((name) => name.startsWith('avscan.retry.'))
  const notify = allEndpoints(config).map((endpoint) => notifyQueue(endpoint.name))
  return {
    store: { configure: exactly(exchange), write: exactly(exchange), read: nothing },
    avscan: {
      configure: nothing,
      write: exactly(names.jobs, names.verdicts, ...retry),
      read: exactly(queue, bulkQueue(config), actionsQueue(config)),
    },
    notifier: {
      configure: nothing,
      write: exactly(names.jobs, ...retry),
      read: exactly(...notify),
    },
    // It reads dead letters for `make dead` and `make replay`. It asks how full the scan queues are and whether a dead letter's
    // queue is there: RabbitMQ 4.3 answers a passive declare only to those who have some right on the queue (3.10: to anybody).
    // Writing is the one that gives nothing else: to bind a queue takes reading an exchange as well.
    reconciler: {
      configure: nothing,
      write: exactly(
        names.jobs,
        ...retry,
        queue,
        bulkQueue(config),
        actionsQueue(config),
        ...notify,
      ),
      read: exactly(spoolQueue(config), names.reconcile, names.dead),
    },
    storeAudit: { configure: nothing, write: exactly(names.jobs), read: nothing },
  }
}

export interface FoundExchange {
  type: string
  durable: boolean
  auto_delete: boolean
  internal: boolean
  arguments: Record<string, unknown>
}

export interface FoundQueue {
  durable: boolean
  auto_delete: boolean
  exclusive?: boolean
  arguments: Record<string, unknown>
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value)
}

function compare(what: string, found: object, wanted: object): string[] {
  const left = found as Record<string, unknown>
  const right = wanted as Record<string, unknown>
  return [...new Set([...Object.keys(right), ...Object.keys(left)])]
    .filter((key) => show(left[key]) !== show(right[key]))
    .map((key) => `${what}: ${key} is ${show(left[key])}, wanted ${show(right[key])}`)
}

/** Each difference as `queue q: x-delivery-limit is 20, wanted 50`. */
export function exchangeDifferences(wanted: Exchange, found: FoundExchange): string[] {
  const { type, durable, auto_delete, internal } = found
  const what = `exchange ${wanted.name}`
  return [
    ...compare(
      what,
      { type, durable, auto_delete, internal },
      { type: wanted.type, durable: true, auto_delete: false, internal: false },
    ),
    ...compare(what, found.arguments, {}),
  ]
}

export function queueDifferences(wanted: Queue, found: FoundQueue): string[] {
  const { durable, auto_delete, exclusive = false } = found
  const what = `queue ${wanted.name}`
  return [
    ...compare(
      what,
      { durable, auto_delete, exclusive },
      { durable: true, auto_delete: false, exclusive: false },
    ),
    ...compare(what, found.arguments, wanted.arguments),
  ]
}

export interface Policy {
  name: string
  pattern: string
  'apply-to': string
  priority: number
  definition: Record<string, unknown>
}

// What would lose messages that we count on; a queue's own arguments cannot switch these off.
const losing = ['message-ttl', 'expires', 'max-length', 'max-length-bytes'] as const

/** Every policy that would expire or cap one of our queues, in words. */
export function policyProblems(
  queues: readonly Queue[],
  policies: readonly Policy[],
  kind: 'policy' | 'operator policy',
): string[] {
  return queues.flatMap((queue) => {
    const [policy] = policies
      .filter(
        (one) =>
          ['all', 'queues', 'quorum_queues'].includes(one['apply-to']) &&
          matches(one.pattern, queue.name),
      )
      .toSorted((a, b) => b.priority - a.priority)
    if (policy === undefined) return []
    const found = losing
      .filter((key) => policy.definition[key] !== undefined)
      .map((key) => `${key}=${String(policy.definition[key])}`)
    const limit = policy.definition['delivery-limit']
    const ours = Number(queue.arguments['x-delivery-limit'] ?? 0)
    if (typeof limit === 'number' && limit < ours) found.push(`delivery-limit=${limit}`)
    return found.length === 0
      ? []
      : [`${kind} "${policy.name}" sets ${found.join(', ')} on queue ${queue.name}`]
  })
}

/** RabbitMQ's patterns are PCRE; one that JavaScript cannot read is taken to match, to be on the safe side. */
function matches(pattern: string, name: string): boolean {
  try {
    return new RegExp(pattern).test(name)
  } catch {
    return true
  }
}
