// What an administrator has to set up when init is given no administrator: definitions and commands, without secrets.
import type { Config } from '../shared/config-schema.ts'
import type { Topology } from '../shared/topology.ts'
import { brokerRights, brokerUsers, type BrokerUser } from './broker-plan.ts'
import type { Identity } from './identities.ts'

export function printBroker(
  config: Config,
  wanted: Topology,
  identities: Record<BrokerUser, Identity>,
): string {
  const { vhost } = config.broker
  const rights = brokerRights(config)
  const users = brokerUsers.map((key) => ({
    name: identities[key].name,
    ...rights[key],
  }))
  const definitions = {
    vhosts: [{ name: vhost }],
    permissions: users.map(({ name, ...right }) => ({ user: name, vhost, ...right })),
    exchanges: wanted.exchanges.map((exchange) => ({
      ...exchange,
      vhost,
      durable: true,
      auto_delete: false,
      internal: false,
      arguments: {},
    })),
    queues: wanted.queues.map((queue) => ({ ...queue, vhost, durable: true, auto_delete: false })),
    bindings: wanted.bindings.map(({ exchange, queue, key }) => ({
      source: exchange,
      vhost,
      destination: queue,
      destination_type: 'queue',
      routing_key: key,
      arguments: {},
    })),
  }
  return [
    '# 1. The users; each command reads the password from standard input.',
    ...users.map(({ name }) => `#   rabbitmqctl add_user ${quote(name)}`),
    '# 2. Everything else: the lines below that do not begin with # are a definitions file.',
    '#   rabbitmqctl import_definitions definitions.json',
    '# No policy may set message-ttl, expires or a length limit on these queues.',
    JSON.stringify(definitions, undefined, 2),
    '',
  ].join('\n')
}

function quote(text: string): string {
  return /^[\w.@-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}
