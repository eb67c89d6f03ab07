// RabbitMQ as a supervised child: its own epmd, cookie, data and ports, TLS only, everything on 127.0.0.1.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Layout } from './layout.ts'
import { shortName } from './layout.ts'
import type { Ports } from './ports.ts'
import type { Secrets } from './secrets.ts'
import type { ChildSpec } from './spec.ts'

export interface BrokerOptions {
  layout: Layout
  ports: Ports
  secrets: Secrets
  /** PATH, LANG and the like of the caller. */
  base: Readonly<Record<string, string>>
}

const scripts = ['/usr/lib/rabbitmq/bin', '/usr/sbin', '/usr/local/sbin', '/opt/rabbitmq/sbin']

/** The server script itself: Debian's wrapper on PATH switches to another user and so to another cookie. */
export function findRabbitmq(): string | undefined {
  return scripts.map((folder) => join(folder, 'rabbitmq-server')).find((path) => existsSync(path))
}

export function rabbitmqConf({ layout, ports, secrets }: BrokerOptions): string {
  const tls = (prefix: string) => [
    `${prefix}.cacertfile = ${layout.brokerCerts}/ca.pem`,
    `${prefix}.certfile = ${layout.brokerCerts}/cert.pem`,
    `${prefix}.keyfile = ${layout.brokerCerts}/key.pem`,
  ]
  return [
    'listeners.tcp = none',
    `listeners.ssl.default = 127.0.0.1:${ports.amqps}`,
    ...tls('ssl_options'),
    'ssl_options.verify = verify_none',
    'ssl_options.fail_if_no_peer_cert = false',
    'ssl_options.versions.1 = tlsv1.3',
    'ssl_options.versions.2 = tlsv1.2',
    'management.ssl.ip = 127.0.0.1',
    `management.ssl.port = ${ports.management}`,
    ...tls('management.ssl'),
    `default_user = ${secrets['RABBITMQ_DEFAULT_USER'] ?? ''}`,
    `default_pass = ${secrets['RABBITMQ_DEFAULT_PASS'] ?? ''}`,
    'default_user_tags.administrator = true',
    'log.console = true',
    'log.console.level = info',
    'log.file = false',
    'disk_free_limit.absolute = 200MB',
    '',
  ].join('\n')
}

/** Writes the configuration and returns the two children: epmd, then the broker. */
export function brokerChildren(options: BrokerOptions, server: string): ChildSpec[] {
  const { layout, ports, base } = options
  const folder = layout.broker
  const conf = rabbitmqConf(options)
  writeFileSync(join(folder, 'rabbitmq.conf'), conf, { mode: 0o600 })
  writeFileSync(join(folder, 'enabled_plugins'), '[rabbitmq_management].\n')
  makeCookie(join(folder, '.erlang.cookie'))
  const env = {
    ...base,
    HOME: folder,
    ERL_EPMD_PORT: String(ports.epmd),
    ERL_EPMD_ADDRESS: '127.0.0.1',
  }
  return [
    {
      name: 'epmd',
      // In the foreground and ours; the one that Erlang starts by itself would outlive the broker.
      command: ['epmd', '-address', '127.0.0.1', '-port', String(ports.epmd)],
      env,
      cwd: folder,
      ready: { kind: 'tcp', port: ports.epmd },
      readyTimeoutMs: 10_000,
      stopTimeoutMs: 3000,
    },
    {
      name: 'broker',
      command: [server],
      env: {
        ...env,
        RABBITMQ_NODENAME: `avscan-${shortName(layout.runDir)}@localhost`,
        RABBITMQ_CONF_ENV_FILE: join(folder, 'none'),
        RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
        RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'none'),
        RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
        RABBITMQ_MNESIA_BASE: join(folder, 'data'),
        RABBITMQ_LOG_BASE: join(folder, 'log'),
        RABBITMQ_PID_FILE: join(folder, 'pid'),
        RABBITMQ_FEATURE_FLAGS_FILE: join(folder, 'feature_flags'),
        RABBITMQ_DIST_PORT: String(ports.erlang),
        // Schedulers that wait busily for work take the processor from the workers.
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
          '-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none',
        // Makes the script become the broker instead of waiting for it, so that signals reach it.
        RUNNING_UNDER_SYSTEMD: 'true',
        // Makes a changed file a changed child, which is restarted.
        CONF_SHA256: createHash('sha256').update(conf).digest('hex'),
      },
      cwd: folder,
      ready: { kind: 'http', url: `https://127.0.0.1:${ports.management}/`, caFile: layout.caFile },
      readyTimeoutMs: 120_000,
      stopTimeoutMs: 30_000,
    },
  ]
}

/** Whoever knows it runs code in the broker. One that Erlang makes by itself is of 20 letters that can be guessed. */
function makeCookie(file: string): void {
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString('hex'), { mode: 0o400 })
}
