// The names and passwords that init needs besides the configuration: several identities at once, all problems at once.
import { readFileSync } from 'node:fs'
import { ConfigError } from '../shared/config.ts'
import { describeError } from '../shared/errors.ts'

export interface Identity {
  name: string
  password: string
}

/** Name and password variable of an identity; `fallback` is its name when the variable is empty. */
export interface IdentityVariables {
  name: string
  password: string
  fallback?: string
}

export const brokerIdentities = {
  admin: {
    name: 'RABBITMQ_DEFAULT_USER',
    password: 'RABBITMQ_DEFAULT_PASS',
    fallback: 'rabbitadmin',
  },
  store: {
    name: 'RABBITMQ_REGULAR_USER_NAME',
    password: 'RABBITMQ_REGULAR_USER_PASS',
    fallback: 'rabbituser',
  },
  avscan: { name: 'AVSCAN_BROKER_USER', password: 'AVSCAN_BROKER_PASSWORD', fallback: 'avscan' },
  notifier: {
    name: 'NOTIFIER_BROKER_USER',
    password: 'NOTIFIER_BROKER_PASSWORD',
    fallback: 'notifier',
  },
  reconciler: {
    name: 'RECONCILER_BROKER_USER',
    password: 'RECONCILER_BROKER_PASSWORD',
    fallback: 'reconciler',
  },
  storeAudit: {
    name: 'STORE_AUDIT_BROKER_USER',
    password: 'STORE_AUDIT_BROKER_PASSWORD',
    fallback: 'store-audit',
  },
} as const satisfies Record<string, IdentityVariables>

export const storeIdentities = {
  root: { name: 'MINIO_ROOT_USER', password: 'MINIO_ROOT_PASSWORD' },
  uploader: { name: 'MINIO_USER_NAME', password: 'MINIO_USER_PASSWORD', fallback: 'miniouser' },
  avscan: { name: 'AVSCAN_STORE_USER', password: 'AVSCAN_STORE_PASSWORD', fallback: 'avscan' },
  reconciler: {
    name: 'RECONCILER_STORE_USER',
    password: 'RECONCILER_STORE_PASSWORD',
    fallback: 'reconciler',
  },
  canary: {
    name: 'CANARY_STORE_USER',
    password: 'CANARY_STORE_PASSWORD',
    fallback: 'avscan-canary',
  },
} as const satisfies Record<string, IdentityVariables>

type Env = Readonly<Record<string, string | undefined>>

/**
 * Reads every identity; passwords also from the file in `<NAME>_FILE`. Two identities cannot share a name.
 * @throws ConfigError with every problem there is. With `needPasswords: false` (for --print) names only.
 */
export function readIdentities<K extends string>(
  wanted: Readonly<Record<K, IdentityVariables>>,
  env: Env,
  { needPasswords = true }: { needPasswords?: boolean } = {},
): Record<K, Identity> {
  const problems: string[] = []
  const seen = new Map<string, string>()
  const entries = (Object.entries(wanted) as [K, IdentityVariables][]).map(([key, variables]) => {
    const name = env[variables.name] || variables.fallback || ''
    if (name === '') problems.push(`${variables.name}: required by init; set it`)
    const twin = seen.get(name)
    if (twin !== undefined)
      problems.push(
        `${variables.name}: "${name}" is also ${twin}; each identity needs a name of its own`,
      )
    seen.set(name, variables.name)
    const password = readSecret(variables.password, env, problems)
    if (needPasswords && password === '')
      problems.push(`${variables.password}: required by init; set it or ${variables.password}_FILE`)
    return [key, { name, password }]
  })
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.fromEntries(entries) as Record<K, Identity>
}

function readSecret(name: string, env: Env, problems: string[]): string {
  const file = env[`${name}_FILE`]
  if (file === undefined || file === '') return env[name] ?? ''
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    problems.push(`${name}_FILE: ${describeError(error)}`)
    return env[name] ?? 'unreadable'
  }
}
