// The command `init certificates`: reads where, for whom and under which names, then lets certificates.ts do it.
import { isAbsolute } from 'node:path'
import type { Config } from '../shared/config-schema.ts'
import { ConfigError } from '../shared/config.ts'
import {
  ensureCertificates,
  serverKinds,
  type CertificateOptions,
  type ServerKind,
} from './certificates.ts'
import type { Owner } from './certificate-files.ts'
import type { InitContext } from './context.ts'

type Env = Readonly<Record<string, string | undefined>>

const defaultFolder = '/opt/av-scan/certs'
// As the compose file calls them; a client may use them whatever the settings say.
const serviceNames: Record<ServerKind, string> = {
  store: 'minio-service',
  broker: 'mq-service',
  'store-audit': 'store-audit',
  'clamav-rest': 'clamd-service',
}

export async function initCertificates({
  config,
  env,
  print,
  report,
  out,
}: InitContext): Promise<void> {
  const options = certificateOptions(config, env)
  if (print) return out(describe(options))
  await ensureCertificates(options, report)
}

/** @throws ConfigError with every problem there is. */
export function certificateOptions(config: Config, env: Env): CertificateOptions {
  const problems: string[] = []
  const read = (name: string) => env[name] ?? ''
  const extra = read('TLS_NAMES')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  for (const name of extra)
    if (!/^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?$|^[0-9a-fA-F:.]+$/.test(name))
      problems.push(`TLS_NAMES: "${name}" is neither a host name nor an IP address`)
  const host: Record<ServerKind, string> = {
    store: new URL(config.store.url).hostname.replace(/^\[|\]$/g, ''),
    broker: config.broker.host,
    'store-audit': 'store-audit',
    'clamav-rest': config.engine.host,
  }
  const owners: Partial<Record<ServerKind, Owner>> = {}
  const names = {} as Record<ServerKind, string[]>
  for (const kind of serverKinds) {
    names[kind] = [...new Set([serviceNames[kind], host[kind], ...extra])]
    const variable = `CERTS_${kind.toUpperCase().replaceAll('-', '_')}_OWNER`
    const owner = readOwner(variable, read(variable), problems)
    if (owner !== undefined) owners[kind] = owner
  }
  const [certificate, key, ca] = [read('TLS_CERT'), read('TLS_KEY'), read('TLS_CA')]
  const isOwn = certificate !== '' || key !== ''
  // TLS_CA alone is what every service has: the CA that this command makes.
  for (const [name, value] of Object.entries({ TLS_CERT: certificate, TLS_KEY: key, TLS_CA: ca }))
    if (isOwn && value === '')
      problems.push(
        `${name}: required with a certificate of your own; set TLS_CERT, TLS_KEY and TLS_CA`,
      )
  const folder = read('CERTS_DIR') || defaultFolder
  if (!isAbsolute(folder)) problems.push(`CERTS_DIR: expected an absolute path, got "${folder}"`)
  if (problems.length > 0) throw new ConfigError(problems)
  return {
    folder,
    names,
    owners,
    ...(isOwn ? { own: { certificate, key, ca } } : {}),
    now: new Date(),
  }
}

function readOwner(variable: string, value: string, problems: string[]): Owner | undefined {
  if (value === '') return undefined
  const match = /^(\d+)(?::(\d+))?$/.exec(value)
  if (match === null) {
    problems.push(`${variable}: expected uid or uid:gid in digits, got "${value}"`)
    return undefined
  }
  return { uid: Number(match[1]), ...(match[2] === undefined ? {} : { gid: Number(match[2]) }) }
}

function describe({ folder, names, own }: CertificateOptions): string {
  const lines = [
    own === undefined
      ? `A CA of our own in ${folder}/private, and under it:`
      : `TLS_CERT ${own.certificate} for every server, which must be for these names:`,
    ...serverKinds.map((kind) => `  ${folder}/${kind}: ${names[kind].join(', ')}`),
    `Clients trust ${folder}/trust/ca.pem.`,
  ]
  return `${lines.join('\n')}\n`
}
