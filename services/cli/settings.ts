// What a deployment was told: the settings of the environment and of the secrets file, checked, and kept for `make start`.
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { listSettings } from '../shared/config.ts'
import { FatalError } from '../shared/errors.ts'
import type { Secrets } from './secrets.ts'
import { secretNames } from './secrets.ts'

/** Settings of the deployment itself, beside those of av-scan.yaml. */
export const deployNames = [
  'SCALE',
  'SIGNATURES',
  'STORE_FLAVOUR',
  'TLS_NAMES',
  'BIND_ADDRESS',
] as const

export type Settings = Record<string, string>

// What deploy decides itself; a value from the caller's shell would break it.
const ours = new Set([
  'MINIO_SERVER_URL',
  'RABBITMQ_ENDPOINT',
  'RABBITMQ_PORT',
  'RABBITMQ_PORT_MANAGEMENT',
  'RABBITMQ_TLS',
  'TLS_CA',
  'CLAMD_ENDPOINT',
  'CLAMD_PORT',
  'CLAMD_SOCKET',
  'ENGINE',
  'SCAN_FOLDER',
  'HTTP_HOST',
  'HTTP_PORT',
  'LOG_FILE',
  'LOG_FORMAT',
  'SIGNATURE_SET',
  'STORE_AUDIT_HOST',
  'STORE_AUDIT_PORT',
  'STORE_AUDIT_CERT',
  'STORE_AUDIT_KEY',
  'STORE_AUDIT_FOLDER',
])

/** The variables that people may set, from the shell or, weaker, from the secrets file. */
export function collectSettings(
  env: Readonly<Record<string, string | undefined>>,
  secrets: Secrets,
): Settings {
  const known = listSettings().flatMap((setting) =>
    setting.env === undefined || setting.env.includes('*') ? [] : setting.env,
  )
  const names = [...known, ...deployNames].filter((name) => !ours.has(name))
  const settings: Settings = {}
  // A hook of the fault suite (shared/fault.ts), no setting: only from the caller's shell, and never into containers.
  const faults = env['AVSCAN_FAULT_FILE'] ?? ''
  if (faults !== '') settings['AVSCAN_FAULT_FILE'] = faults
  for (const name of names) {
    // The receiver behind PUBLISH_URL is not ours, so its secret may come from outside; all others are the file's.
    const isFixed = secretNames.includes(name) && name !== 'PUBLISH_SECRET'
    const value = isFixed ? secrets[name] : (env[name] ?? secrets[name])
    if (value !== undefined && value !== '') settings[name] = value
    const file = env[`${name}_FILE`]
    if (file !== undefined && file !== '') settings[`${name}_FILE`] = file
  }
  return settings
}

/** How many workers. @throws FatalError when SCALE is no sensible number. */
export function parseScale(text: string | undefined): number {
  if (text === undefined || text === '') return 1
  const scale = Number(text)
  if (!Number.isInteger(scale) || scale < 1 || scale > 64)
    throw new FatalError(`SCALE=${text} is not a number of workers`, 'set SCALE to 1 … 64')
  return scale
}

/** Connections per worker to clamd, and threads of clamd: one more than they take, for the reserved places. */
export function engineSizes(
  scale: number,
  { cores = cpus().length, given }: { cores?: number; given?: string | undefined } = {},
): { threads: number; connections: number } {
  const asked = Number(given ?? '')
  // What is no number the configuration refuses.
  const connections = asked >= 1 ? asked : Math.max(1, Math.ceil(cores / scale))
  return { threads: connections * scale + 1, connections }
}

export function saveSettings(runDir: string, settings: Settings): void {
  writeFileSync(join(runDir, 'settings.json'), `${JSON.stringify(settings, undefined, 1)}\n`, {
    mode: 0o600,
  })
}

export function readSettings(runDir: string): Settings | undefined {
  try {
    return JSON.parse(readFileSync(join(runDir, 'settings.json'), 'utf8')) as Settings
  } catch {
    return undefined
  }
}
