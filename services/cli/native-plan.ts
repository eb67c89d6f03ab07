// Everything a native deployment consists of, computed from settings, secrets and ports: the environment of each
// service and the supervised children in their order. Pure but for the configuration files of the parts.
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { clamdConf, clamdEnvironment } from '../shared/clamd-conf.ts'
import { loadConfig } from '../shared/config.ts'
import { engineTimes, maxObjectBytes, type Config } from '../shared/config-schema.ts'
import { spoolRoutingKey } from '../shared/topology.ts'
import { forgetState } from '../store-audit/state.ts'
import { brokerChildren } from './broker-process.ts'
import type { StorePrograms } from './install-store.ts'
import type { Layout } from './layout.ts'
import { configHash, type Paths } from './paths.ts'
import type { Ports } from './ports.ts'
import type { Secrets } from './secrets.ts'
import { engineSizes, type Settings } from './settings.ts'
import type { PreparedSignatures } from './signatures.ts'
import type { ChildSpec } from './spec.ts'
import { storeChild, type StoreFlavour } from './store-process.ts'

export interface Programs {
  rabbitmq: string
  clamd: string
  freshclam: string
  store: StorePrograms
}

export interface PlanInput {
  paths: Paths
  layout: Layout
  ports: Ports
  secrets: Secrets
  settings: Settings
  scale: number
  flavour: StoreFlavour
  signatures: PreparedSignatures
  programs: Programs
}

export type Environment = Record<string, string>

/** What every process gets from the caller's environment: nothing secret, nothing that steers it. */
export function baseEnvironment(paths: Paths, env: NodeJS.ProcessEnv = process.env): Environment {
  const base: Environment = {
    PATH: `${paths.toolsDir}:${env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`,
    LANG: 'C.UTF-8',
  }
  for (const name of [
    'HOME',
    'TMPDIR',
    'TZ',
    'USER',
    'LOGNAME',
    'http_proxy',
    'https_proxy',
    'no_proxy',
  ])
    if (env[name] !== undefined) base[name] = env[name]
  return base
}

/** The settings that all of our own services share. */
export function serviceEnvironment(input: Omit<PlanInput, 'programs' | 'signatures'>): Environment {
  const { paths, layout, ports, secrets, settings, scale } = input
  const settable = Object.entries(settings).filter(([name]) => !secretSettings.has(name))
  return {
    ...baseEnvironment(paths),
    ...Object.fromEntries(settable),
    AV_CONFIG: paths.configFile,
    MINIO_SERVER_URL: `https://127.0.0.1:${ports.store}`,
    RABBITMQ_ENDPOINT: '127.0.0.1',
    RABBITMQ_PORT: String(ports.amqps),
    RABBITMQ_TLS: 'true',
    RABBITMQ_PORT_MANAGEMENT: String(ports.management),
    TLS_CA: layout.caFile,
    ENGINE: 'clamd',
    CLAMD_SOCKET: layout.engineSocket,
    ENGINE_CONNECTIONS: settings['ENGINE_CONNECTIONS'] ?? String(engineSizes(scale).connections),
    SCAN_FOLDER: layout.scan,
    HTTP_HOST: '127.0.0.1',
    // It has no audit log that says enough.
    ...(input.flavour === 'versitygw' ? { STORE_AUDIT: 'off' } : {}),
    // Where verdicts go decides what is told; the address itself may carry a password.
    ...(settings['PUBLISH_URL'] ? { PUBLISH_URL: 'https://known-to-the-notifier.invalid/' } : {}),
    DEMO_URL: `http://127.0.0.1:${ports.demo}/`,
    // Read by every service, for av-scan.yaml names it.
    DEMO_SECRET: secrets['DEMO_SECRET'] ?? '',
  }
}

const secretSettings = new Set([
  'PROOF_KEY',
  'PROOF_OLD_KEYS',
  // It may carry a password.
  'PUBLISH_URL',
  'PUBLISH_SECRET',
  'STORE_AUDIT_TOKEN',
])

function pick(secrets: Secrets, ...names: string[]): Environment {
  return Object.fromEntries(
    names.flatMap((name) => (secrets[name] === undefined ? [] : [[name, secrets[name]]])),
  )
}

/** The environment of `init …`, which alone may do everything. */
export function initEnvironment(input: Omit<PlanInput, 'signatures'>): Environment {
  return {
    ...serviceEnvironment(input),
    ...input.secrets,
    CERTS_DIR: input.layout.certs,
    STORE_FLAVOUR: input.flavour,
    MC_BIN: input.programs.store.admin,
    LOG_FORMAT: 'text',
  }
}

/** The configuration as the services will see it; every mistake in it at once. */
export function planConfig(input: Omit<PlanInput, 'programs' | 'signatures'>): Readonly<Config> {
  const env = {
    ...serviceEnvironment(input),
    ...pick(input.settings, 'PUBLISH_URL'),
    ...input.secrets,
  }
  return loadConfig({ service: 'avscan', env })
}

export interface Plan {
  /** epmd, broker and engine. */
  first: ChildSpec[]
  store: ChildSpec[]
  services: ChildSpec[]
}

export function planChildren(input: PlanInput): Plan {
  const { paths, layout, ports, secrets, settings, scale, programs } = input
  const base = baseEnvironment(paths)
  const config = planConfig(input)
  const shared = {
    ...serviceEnvironment(input),
    SIGNATURE_SET: input.signatures.set,
    AV_CONFIG_SHA256: configHash(paths.configFile),
    ...littleMemory,
    NODE_COMPILE_CACHE: paths.compileCache,
  }
  const node = (script: string) => [process.execPath, join(paths.root, 'services', script)]
  const service = (name: string, script: string, port: number, env: Environment): ChildSpec => ({
    name,
    command: node(script),
    env: { ...shared, ...env, HTTP_PORT: String(port), LOG_FORMAT: 'json' },
    cwd: layout.runDir,
    ready: { kind: 'http', url: `http://127.0.0.1:${port}/readyz` },
    readyTimeoutMs: 120_000,
    stopTimeoutMs: config.shutdown.timeoutMs + 6000,
    parallel: true,
  })
  const proofKeys = { ...pick(secrets, 'PROOF_KEY'), ...pick(settings, 'PROOF_OLD_KEYS') }
  const workers = Array.from({ length: scale }, (_, index) =>
    service(`avscan-${index + 1}`, 'avscan/main.ts', ports.workers[index] ?? 0, {
      ...pick(
        secrets,
        'AVSCAN_STORE_USER',
        'AVSCAN_STORE_PASSWORD',
        'AVSCAN_BROKER_USER',
        'AVSCAN_BROKER_PASSWORD',
      ),
      ...proofKeys,
    }),
  )
  const notifier = service('notifier', 'notifier/main.ts', ports.notifier, {
    ...pick(secrets, 'NOTIFIER_BROKER_USER', 'NOTIFIER_BROKER_PASSWORD'),
    ...pick(settings, 'PUBLISH_URL', 'PUBLISH_SECRET'),
  })
  const reconciler = service('reconciler', 'reconciler/main.ts', ports.reconciler, {
    ...pick(
      secrets,
      'RECONCILER_STORE_USER',
      'RECONCILER_STORE_PASSWORD',
      'RECONCILER_BROKER_USER',
      'RECONCILER_BROKER_PASSWORD',
    ),
    ...proofKeys,
    ...smallMemory,
  })
  const audit = service('store-audit', 'store-audit/main.ts', ports.auditHealth, {
    ...pick(secrets, 'STORE_AUDIT_BROKER_USER', 'STORE_AUDIT_BROKER_PASSWORD', 'STORE_AUDIT_TOKEN'),
    STORE_AUDIT_PORT: String(ports.audit),
    STORE_AUDIT_CERT: join(layout.auditCerts, 'server.crt'),
    STORE_AUDIT_KEY: join(layout.auditCerts, 'server.key'),
    STORE_AUDIT_FOLDER: layout.audit,
    ...smallMemory,
  })
  // What was written while nobody listened is not known: the next start must be the first one again.
  if (!config.audit.enabled) forgetState(join(layout.audit, 'state.json'))
  const store = storeChild({
    flavour: input.flavour,
    binary: programs.store.server,
    layout,
    ports,
    secrets,
    region: config.store.region,
    exchange: config.broker.exchange,
    routingKey: config.broker.routingKey,
    spoolRoutingKey: spoolRoutingKey(config),
    vhost: config.broker.vhost,
    audit: config.audit,
    base,
  })
  return {
    first: [
      ...brokerChildren({ layout, ports, secrets, base }, programs.rabbitmq),
      ...engineChildren(input, config),
    ],
    // The store would log with a stack trace that nobody takes its audit log yet.
    store: [...(config.audit.enabled ? [audit] : []), store],
    services: [...workers, notifier, reconciler],
  }
}

/**
 * V8 lets the young generation, and glibc an arena for each thread, grow to more than all else that a service holds; and below a
 * limit of 256 MB for the old one V8 lets a third of it be garbage instead of two thirds. Compose's image sets the same.
 */
export const littleMemory = {
  NODE_OPTIONS: '--max-semi-space-size=4 --max-old-space-size=256',
  MALLOC_ARENA_MAX: '2',
}

/** For the reconciler, which waits for answers most of the time: 135 MB in a sweep instead of 220 (compose.yaml has the same). */
export const smallMemory = {
  NODE_OPTIONS: '--max-semi-space-size=2 --max-old-space-size=96 --v8-pool-size=1',
  MALLOC_ARENA_MAX: '1',
}

const hash = (text: string) => createHash('sha256').update(text).digest('hex')

function engineChildren(
  { layout, signatures, programs, paths, scale, settings }: PlanInput,
  config: Config,
): ChildSpec[] {
  const conf = join(layout.engine, 'clamd.conf')
  const temporaryFolder = join(layout.engine, 'tmp')
  const text = clamdConf({
    socket: layout.engineSocket,
    databaseDirectory: signatures.directory,
    temporaryDirectory: temporaryFolder,
    maxObjectBytes: maxObjectBytes(config),
    maxScanTimeMs: engineTimes(config.engine).maxScanTimeMs,
    maxThreads: engineSizes(scale, { given: settings['ENGINE_CONNECTIONS'] }).threads,
  })
  writeFileSync(conf, text, { mode: 0o600 })
  const base = baseEnvironment(paths)
  const common = { cwd: layout.engine, stopTimeoutMs: 20_000, parallel: true }
  const clamd: ChildSpec = {
    ...common,
    name: 'engine',
    command: [programs.clamd, `--config-file=${conf}`],
    // The hash makes a changed file a changed child, which is restarted.
    env: { ...base, ...clamdEnvironment, CONF_SHA256: hash(text) },
    temporaryFolder,
    ready: { kind: 'socket', path: layout.engineSocket },
    readyTimeoutMs: 180_000,
  }
  if (signatures.freshclamConf === undefined) return [clamd]
  const freshclam: ChildSpec = {
    ...common,
    name: 'freshclam',
    command: [
      programs.freshclam,
      '--daemon',
      '--foreground',
      '--stdout',
      `--config-file=${signatures.freshclamConf}`,
    ],
    env: base,
    ready: { kind: 'none' },
    readyTimeoutMs: 10_000,
  }
  return [clamd, freshclam]
}
