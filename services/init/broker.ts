// `init broker`: vhost, users with the rights of their work, exchanges, queues and bindings, through the management API.
// Idempotent; what is there with other arguments is an error that names both values, for RabbitMQ cannot change it.
import { createHash } from 'node:crypto'
import { FatalError } from '../shared/errors.ts'
import { topology, type Topology } from '../shared/topology.ts'
import { printBroker } from './broker-print.ts'
import {
  brokerRights,
  brokerUsers,
  exchangeDifferences,
  policyProblems,
  queueDifferences,
  type FoundExchange,
  type FoundQueue,
  type Policy,
  type Rights,
} from './broker-plan.ts'
import type { InitContext } from './context.ts'
import { brokerIdentities, readIdentities, type Identity } from './identities.ts'
import { releaseFormerQueues } from './former-queues.ts'
import { openManagement, type Management } from './management.ts'
import { asWanted, type Report } from './report.ts'
import { initTimeoutMs, waitFor } from './wait.ts'

const enc = encodeURIComponent

/** Brings the broker to what the topology says. @throws FatalError | ConfigError */
export async function initBroker(context: InitContext): Promise<void> {
  const { config, env, print, report } = context
  const identities = readIdentities(brokerIdentities, env, { needPasswords: !print })
  const wanted = topology(config)
  if (print) return context.out(printBroker(config, wanted, identities))
  const api = openManagement(config, identities.admin)
  try {
    await waitFor(() => api.get('/overview'), {
      what: api.where,
      timeoutMs: initTimeoutMs(env),
      waiting: (reason) => report.warn(`waiting for ${api.where}: ${reason}`),
    })
    const { vhost } = config.broker
    await ensureVhost(api, vhost, identities.admin, report)
    await refuseLosingPolicies(api, vhost, wanted)
    await ensureTopology(api, vhost, wanted, report)
    const rights = brokerRights(config)
    for (const key of brokerUsers)
      await ensureUser(api, vhost, identities[key], rights[key], report)
    await releaseFormerQueues(api, config, wanted, report)
  } finally {
    await api.close()
  }
}

async function ensureVhost(
  api: Management,
  vhost: string,
  admin: Identity,
  report: Report,
): Promise<void> {
  const found = await api.get(`/vhosts/${enc(vhost)}`)
  if (found === undefined) await api.put(`/vhosts/${enc(vhost)}`, {})
  report.say(`vhost ${vhost}`, found === undefined ? 'created' : asWanted)
  // Binding needs rights in the vhost even for an administrator.
  const path = `/permissions/${enc(vhost)}/${enc(admin.name)}`
  if ((await api.get(path)) === undefined)
    await api.put(path, { configure: '.*', write: '.*', read: '.*' })
}

async function refuseLosingPolicies(
  api: Management,
  vhost: string,
  { queues }: Topology,
): Promise<void> {
  const list = async (kind: string) => ((await api.get(`/${kind}/${enc(vhost)}`)) ?? []) as Policy[]
  const problems = [
    ...policyProblems(queues, await list('policies'), 'policy'),
    ...policyProblems(queues, await list('operator-policies'), 'operator policy'),
  ]
  if (problems.length > 0)
    throw new FatalError(
      `messages would be lost: ${problems.join('; ')}`,
      'narrow the pattern of the policy so that it leaves these queues out (rabbitmqctl list_policies shows it)',
    )
}

async function ensureTopology(
  api: Management,
  vhost: string,
  wanted: Topology,
  report: Report,
): Promise<void> {
  const at = enc(vhost)
  const differences: string[] = []
  const missing: { thing: string; path: string; body: unknown }[] = []
  const inOrder: string[] = []
  for (const exchange of wanted.exchanges) {
    const thing = `exchange ${exchange.name}`
    const path = `/exchanges/${at}/${enc(exchange.name)}`
    const found = (await api.get(path)) as FoundExchange | undefined
    inOrder.push(thing)
    if (found !== undefined) differences.push(...exchangeDifferences(exchange, found))
    else missing.push({ thing, path, body: { type: exchange.type, durable: true } })
  }
  for (const queue of wanted.queues) {
    const thing = `queue ${queue.name}`
    const path = `/queues/${at}/${enc(queue.name)}`
    const found = (await api.get(path)) as FoundQueue | undefined
    inOrder.push(thing)
    if (found !== undefined) differences.push(...queueDifferences(queue, found))
    else missing.push({ thing, path, body: { durable: true, arguments: queue.arguments } })
  }
  // Nothing is created beside what cannot be used: the operator decides first.
  if (differences.length > 0)
    throw new FatalError(
      `differs from what is wanted: ${differences.join('; ')}`,
      'RabbitMQ cannot change an existing one: let it run empty and delete it (rabbitmqctl delete_queue), then run init again; or give ours another name (RABBITMQ_QUEUE_NAME, RABBITMQ_TOPIC)',
    )
  for (const thing of inOrder) {
    const one = missing.find((candidate) => candidate.thing === thing)
    if (one !== undefined) await api.put(one.path, one.body)
    report.say(thing, one === undefined ? asWanted : 'created')
  }
  for (const { exchange, queue, key } of wanted.bindings) {
    const path = `/bindings/${at}/e/${enc(exchange)}/q/${enc(queue)}`
    const found = ((await api.get(path)) ?? []) as { routing_key: string }[]
    const there = found.some((binding) => binding.routing_key === key)
    if (!there) await api.post(path, { routing_key: key })
    const thing = `binding ${exchange} → ${queue}${key === '' ? '' : ` (${key})`}`
    report.say(thing, there ? asWanted : 'created')
  }
}

async function ensureUser(
  api: Management,
  vhost: string,
  { name, password }: Identity,
  rights: Rights,
  report: Report,
): Promise<void> {
  const path = `/users/${enc(name)}`
  const found = (await api.get(path)) as FoundUser | undefined
  const tags = [found?.tags ?? []].flat().filter((tag) => tag !== '')
  const fits = found !== undefined && passwordFits(found, password)
  if (!fits || tags.length > 0) await api.put(path, { password, tags: '' })
  const outcome =
    found === undefined
      ? 'created'
      : [
          ...(fits ? [] : ['password set']),
          ...(tags.length > 0 ? [`tags ${tags.join(', ')} taken away`] : []),
        ].join(', ')
  report.say(`user ${name}`, outcome || asWanted)
  const permissionPath = `/permissions/${enc(vhost)}/${enc(name)}`
  const before = (await api.get(permissionPath)) as Rights | undefined
  const same =
    before !== undefined &&
    (['configure', 'write', 'read'] as const).every((right) => before[right] === rights[right])
  if (!same) await api.put(permissionPath, rights)
  report.say(`rights of ${name}`, same ? asWanted : before === undefined ? 'created' : 'changed')
}

interface FoundUser {
  /** A list since 3.9, a comma-separated text before. */
  tags: string | string[]
  password_hash: string
  hashing_algorithm: string
}

/** RabbitMQ's hash: base64 of a 4-byte salt and the digest of salt and password. */
export function passwordFits(found: FoundUser, password: string): boolean {
  const kind = /sha(256|512)$/.exec(found.hashing_algorithm)?.[1]
  if (kind === undefined) return false
  const bytes = Buffer.from(found.password_hash, 'base64')
  const digest = createHash(`sha${kind}`).update(bytes.subarray(0, 4)).update(password).digest()
  return digest.equals(bytes.subarray(4))
}
