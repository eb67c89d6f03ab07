// What a Compose deployment is told beside its secrets, computed from the settings and from what the engine has: which
// compose files, which variables, and whether the temporary files fit into memory, on disk, or nowhere.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { loadConfig } from '../shared/config.ts'
import { GiB, maxObjectBytes, type Config } from '../shared/config-schema.ts'
import { maxScanBytes } from '../shared/clamd-conf.ts'
import { FatalError } from '../shared/errors.ts'
import { configHash } from './paths.ts'
import { secretNames, type Secrets } from './secrets.ts'
import { collectSettings, engineSizes, parseScale, type Settings } from './settings.ts'
import { parseSignatureSource } from './signatures.ts'

export interface EngineFacts {
  cores: number
  memoryBytes: number
  /** Free space where the engine keeps volumes; undefined when it cannot be seen from here. */
  diskBytes: number | undefined
}

export interface DockerPlan {
  /** Compose files, in order. */
  files: string[]
  /** Variables that win over the secrets file. */
  env: Record<string, string>
  signatureSet: 'official' | 'custom' | 'test'
  /** For people: what the temporary files need and where they are. */
  sums: string[]
}

/** The names that the compose files interpolate, so that no other variable of the caller's shell is taken. */
export function composeVariables(texts: readonly string[]): string[] {
  const names = texts.flatMap((text) =>
    [...text.matchAll(/\$\{([A-Z][A-Z0-9_]*)/g)].flatMap(([, name]) => name ?? []),
  )
  // Compose's own are not settings.
  return [...new Set(names)].filter((name) => !name.startsWith('COMPOSE_')).toSorted()
}

// Agreed with a receiver, so people may bring their own; every other secret comes from the secrets file alone.
const sharedSecret = 'PUBLISH_SECRET'

/** What the caller's shell sets of those names. */
export function takeSettings(
  env: Readonly<Record<string, string | undefined>>,
  names: readonly string[],
): Settings {
  const settings: Settings = {}
  for (const name of [...names, 'TLS_CERT', 'TLS_KEY', 'TLS_CA']) {
    const value = env[name]
    if (value === undefined || value === '') continue
    if (name === sharedSecret || !secretNames.includes(name)) settings[name] = value
  }
  return settings
}

/** The configuration as the services will see it; every mistake in it at once. */
export function dockerConfig(
  configFile: string,
  settings: Settings,
  secrets: Secrets,
): Readonly<Config> {
  const env = {
    ...collectSettings(settings, secrets),
    AV_CONFIG: configFile,
    ENGINE: settings['ENGINE'] ?? secrets['ENGINE'] ?? 'clamd',
    DEMO_URL: 'http://demo:8099/',
    DEMO_SECRET: secrets['DEMO_SECRET'] ?? '',
  }
  return loadConfig({ service: 'cli', env })
}

/** What clamd writes beside a page, in sizes of the page: one copy without comments, and up to 2.5 of its scripts, with longer names. */
const pageCopies = 3.5

/**
 * Bytes that clamd's temporary folder must hold at worst: every thread's stream, what it unpacks and the copies of that, and a quarter
 * more. Not a matter of speed: in a full folder clamd cuts the copies of a page short and calls it clean.
 */
export function engineTempBytes(largest: number, threads: number): number {
  const perThread = (1 + pageCopies) * maxScanBytes(largest)
  return Math.ceil(1.25 * ((threads + 1) * largest + threads * perThread))
}

/** BIND_ADDRESS: as a certificate names it, and as Compose and addresses write it, in brackets where it is IPv6. */
export function bindAddress(setting = '127.0.0.1') {
  const name = setting.replace(/^\[|\]$/g, '')
  return {
    name,
    published: name.includes(':') ? `[${name}]` : name,
    isAny: name === '0.0.0.0' || name === '::',
  }
}

export interface PlanInput {
  folder: string
  configFile: string
  settings: Settings
  secrets: Secrets
  engine: EngineFacts
}

export function planDocker({
  folder,
  configFile,
  settings,
  secrets,
  engine,
}: PlanInput): DockerPlan {
  const setting = (name: string) => (settings[name] ?? secrets[name]) || undefined
  const config = dockerConfig(configFile, settings, secrets)
  const scale = parseScale(setting('SCALE'))
  const given = setting('ENGINE_CONNECTIONS')
  const { threads, connections } = engineSizes(scale, { cores: engine.cores, given })
  const files = ['compose.yaml']
  const env: Record<string, string> = {
    ...settings,
    SCALE: String(scale),
    AV_CONFIG_SHA256: configHash(configFile),
    ENGINE: config.engine.kind,
    ENGINE_THREADS: String(threads),
    ENGINE_CONNECTIONS: given ?? String(connections),
    STORE_AUDIT: config.audit.enabled && setting('STORE_FLAVOUR') !== 'versitygw' ? 'on' : 'off',
    RABBITMQ_VHOST_ENCODED: encodeURIComponent(config.broker.vhost),
  }
  if (config.engine.kind === 'clamav-rest') files.push('compose.clamav-rest.yaml')
  if (setting('TLS_CERT') !== undefined) files.push('compose.own-certificates.yaml')

  const bound = setting('BIND_ADDRESS')
  if (bound !== undefined) {
    const { name, published, isAny } = bindAddress(bound)
    env['BIND_ADDRESS'] = published
    if (!isAny) env['TLS_NAMES'] = [setting('TLS_NAMES') ?? '', name].filter(Boolean).join(',')
  }

  const source = parseSignatureSource(setting('SIGNATURES'))
  let signatureSet: DockerPlan['signatureSet'] = 'official'
  if (source.kind === 'test') signatureSet = 'test'
  if (source.kind === 'mirror') signatureSet = 'custom'
  if (source.kind === 'dir') {
    signatureSet = isOfficial(source.path) ? 'official' : 'custom'
    env['SIGNATURES'] = 'dir'
    env['SIGNATURES_DIR'] = source.path
    files.push('compose.signatures-dir.yaml')
  }
  env['SIGNATURE_SET'] = signatureSet

  const engineBytes = engineTempBytes(maxObjectBytes(config), threads)
  const scanBytes = Math.ceil(config.limits.volumeGb * GiB)
  const sum = engineBytes + scale * scanBytes
  const inMemory = sum <= engine.memoryBytes / 4
  if (inMemory) {
    files.push('compose.memory.yaml')
    env['ENGINE_TEMP_BYTES'] = String(engineBytes)
    env['SCAN_FOLDER_BYTES'] = String(scanBytes)
  } else if (engine.diskBytes !== undefined && engine.diskBytes < sum)
    throw new FatalError(
      `temporary files need up to ${inGiB(sum)}, and the engine's disk has ${inGiB(engine.diskBytes)} left`,
      'set a smaller VOLUME_SIZE (GB per worker), MAX_OBJECT_BYTES or SCALE',
    )
  return {
    files: files.map((file) => join(folder, file)),
    env,
    signatureSet,
    sums: [
      `temporary files: at most ${inGiB(engineBytes)} for clamd, ${inGiB(scanBytes)} for each of ${scale} workers, ${inMemory ? 'in memory' : 'on disk'}`,
    ],
  }
}

const inGiB = (bytes: number) => `${(bytes / GiB).toFixed(1)} GiB`

function isOfficial(path: string): boolean {
  try {
    return readdirSync(path).some((name) => /^(main|daily)\.c[vl]d$/.test(name))
  } catch {
    throw new FatalError(
      `there is no folder ${path}`,
      'SIGNATURES=dir:PATH names a folder with signature files',
    )
  }
}
