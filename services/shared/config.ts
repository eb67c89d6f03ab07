// Loads the configuration: file → ${NAME} in scalars → environment → schema → frozen. Every problem at once.
import { readFileSync } from 'node:fs'
import { isScalar, LineCounter, parseDocument, visit, type Document } from 'yaml'
import { z } from 'zod'
import {
  configSchema,
  crossChecks,
  maskedUrl,
  type Config,
  type SettingMeta,
} from './config-schema.ts'
import { describeError, errorCode } from './errors.ts'
import { nearestKey } from './nearest-key.ts'

export const defaultConfigPath = '/opt/av-scan/av-scan.yaml'

/** All configuration problems; the message has one line each: `file:line:column key: rule, got value`. */
export class ConfigError extends Error {
  override name = 'ConfigError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}

export interface LoadOptions {
  /** Whose identity `*_STORE_USER` and the like belong to: `avscan`, `notifier`, … */
  service: string
  env: Readonly<Record<string, string | undefined>>
  /** Secrets and names without which this service cannot work, as paths: `store.password`. */
  required?: readonly string[]
}

export interface Setting extends SettingMeta {
  path: string
  schema: z.ZodType
}

/** Every leaf of the schema in its order. */
export function listSettings(schema: z.ZodType = configSchema, prefix = ''): Setting[] {
  const inner = unwrap(schema)
  if (inner instanceof z.ZodObject) {
    return Object.entries(inner.shape).flatMap(([key, value]) =>
      listSettings(value as z.ZodType, prefix === '' ? key : `${prefix}.${key}`),
    )
  }
  return [{ ...metaOf(schema), path: prefix, schema }]
}

function metaOf(schema: z.ZodType): SettingMeta {
  return (schema.meta() ?? { description: '' }) as unknown as SettingMeta
}

function unwrap(schema: z.ZodType): z.ZodType {
  if (
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodOptional
  )
    return unwrap(schema.unwrap() as z.ZodType)
  return schema
}

function environmentName(setting: Setting, service: string): string | undefined {
  return setting.env?.replace('*', service.toUpperCase().replaceAll('-', '_'))
}

/**
 * Reads the file named by AV_CONFIG (default /opt/av-scan/av-scan.yaml, which may be absent) and the environment.
 * @throws ConfigError with every problem there is.
 */
export function loadConfig(options: LoadOptions): Readonly<Config> {
  const { env, service } = options
  const problems: string[] = []
  const named = env['AV_CONFIG'] ?? ''
  const path = named === '' ? defaultConfigPath : named
  const file = readDocument(path, env, named !== '', problems)
  const values = (file.document?.toJS() ?? {}) as Record<string, unknown>
  const fromEnvironment = new Map<string, string>()
  const secrets = new Set<string>()

  if (typeof values !== 'object' || Array.isArray(values))
    throw new ConfigError([`${path}:1:1 expected a mapping`])
  for (const setting of listSettings()) {
    if (setting.secret === true) secrets.add(setting.path)
    const name = environmentName(setting, service)
    if (name === undefined) continue
    const value = readVariable(name, env, setting.secret === true, problems)
    // An empty variable is how compose passes "not set".
    if (value === undefined || value === '') continue
    fromEnvironment.set(setting.path, name)
    setPath(values, setting.path, coerce(unwrap(setting.schema), value))
  }

  const where = (dotted: string): string => {
    const leaf = [...fromEnvironment.keys()].find(
      (known) => dotted === known || dotted.startsWith(`${known}.`),
    )
    if (leaf !== undefined) return `${fromEnvironment.get(leaf)} (${dotted})`
    return `${file.locate(dotted.split('.'))} ${dotted}`
  }
  const got = (dotted: string): string => {
    const value = getPath(values, dotted)
    if (value === undefined) return 'nothing'
    if (Array.isArray(value)) return 'a list'
    if (typeof value === 'object' && value !== null) return 'a mapping'
    // A secret, a part of one, or text where a section with a secret belongs.
    const hidden =
      [...secrets].some((secret) => within(dotted, secret) || within(secret, dotted)) ||
      /^endpoints(\.\d+)?(\.secret)?$/.test(dotted)
    if (/^(publish|endpoints\.\d+)\.url$/.test(dotted) && typeof value === 'string')
      return URL.canParse(value) ? JSON.stringify(maskedUrl(value)) : '***'
    return hidden ? '***' : JSON.stringify(value)
  }
  const checkRequired = (config: unknown) => {
    for (const dotted of options.required ?? []) {
      if ((getPath(config, dotted) ?? '') !== '') continue
      const setting = listSettings().find((one) => one.path === dotted)
      const name = setting === undefined ? undefined : environmentName(setting, service)
      problems.push(
        `${dotted}: required by ${service}; set ${name ?? dotted}${setting?.secret === true ? ` or ${name}_FILE` : ''}`,
      )
    }
  }

  const parsed = configSchema.safeParse(values)
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const dotted = issue.path.join('.')
      // What a missing variable leaves behind is wrong for that reason only.
      if (problems.some((one) => one.startsWith(`${where(dotted).split(' ')[0]} \${`))) continue
      if (issue.code === 'unrecognized_keys') {
        for (const key of issue.keys) {
          const full = dotted === '' ? key : `${dotted}.${key}`
          problems.push(`${file.locate(full.split('.'))} ${full}: unknown key${suggestion(full)}`)
        }
      } else {
        problems.push(
          `${where(dotted)}: ${lowerFirst(issue.message.replace(/^Invalid input: /, ''))}, got ${got(dotted)}`,
        )
      }
    }
    checkRequired(values)
    throw new ConfigError(problems)
  }
  for (const { path: dotted, message } of crossChecks(parsed.data, service))
    problems.push(`${where(dotted)}: ${message}`)
  checkRequired(parsed.data)
  if (problems.length > 0) throw new ConfigError(problems)
  return deepFreeze(parsed.data)
}

/** The configuration as it may be printed: secrets as `***`. */
export function printableConfig(config: Config): unknown {
  const copy = structuredClone(config) as unknown as Record<string, unknown>
  for (const { path, secret } of listSettings()) {
    const value = getPath(copy, path)
    if (secret === true && value !== '' && !(Array.isArray(value) && value.length === 0))
      setPath(copy, path, '***')
  }
  copy['publish'] = { ...(copy['publish'] as object), url: maskedUrl(config.publish.url) }
  copy['endpoints'] = config.endpoints.map((endpoint) => ({
    ...endpoint,
    url: maskedUrl(endpoint.url),
    secret: '***',
  }))
  return copy
}

function readDocument(
  path: string,
  env: LoadOptions['env'],
  mustExist: boolean,
  problems: string[],
): { document: Document | undefined; locate: (path: readonly string[]) => string } {
  const counter = new LineCounter()
  let text = ''
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (mustExist || errorCode(error) !== 'ENOENT')
      problems.push(`${path}: ${describeError(error)}`)
    return { document: undefined, locate: () => path }
  }
  const document = parseDocument(text, { lineCounter: counter, uniqueKeys: true })
  const at = (offset: number) => {
    const { line, col } = counter.linePos(offset)
    return `${path}:${line}:${col}`
  }
  for (const error of document.errors)
    problems.push(`${at(error.pos[0])} ${withoutPosition(error.message)}`)
  visit(document, {
    // toJS would throw an error that quotes what may be a password beginning with *.
    Alias(_, node) {
      if (node.resolve(document) === undefined)
        problems.push(`${at(node.range?.[0] ?? 0)} a value that begins with * needs quotes`)
    },
  })
  if (problems.length > 0) throw new ConfigError(problems)
  // Substitution happens in parsed scalars, so that a secret holding ": " or "#" cannot change the document.
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value !== 'string') return
      node.value = node.value.replaceAll(
        /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g,
        (_match, name: string) => {
          const value = readVariable(name, env, true, problems)
          if (value === undefined)
            problems.push(`${at(node.range?.[0] ?? 0)} \${${name}}: the variable is not set`)
          return value ?? ''
        },
      )
    },
  })
  const locate = (keys: readonly string[]): string => {
    for (let length = keys.length; length > 0; length--) {
      const steps = keys.slice(0, length).map((key) => (/^\d+$/.test(key) ? Number(key) : key))
      const node = document.getIn(steps, true)
      if (isScalar(node) && node.range) return at(node.range[0])
      if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range))
        return at(node.range[0] as number)
    }
    return path
  }
  return { document, locate }
}

function readVariable(
  name: string,
  env: LoadOptions['env'],
  secret: boolean,
  problems: string[],
): string | undefined {
  const file = secret ? env[`${name}_FILE`] : undefined
  if (file === undefined || file === '') return env[name]
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    problems.push(`${name}_FILE: ${describeError(error)}`)
    return undefined
  }
}

/** The environment has text only; what the schema cannot use is left as text for it to refuse. */
function coerce(schema: z.ZodType, value: string): unknown {
  if (schema instanceof z.ZodNumber)
    return value.trim() === '' || Number.isNaN(Number(value)) ? value : Number(value)
  if (schema instanceof z.ZodBoolean) {
    if (/^(true|yes|on|1)$/i.test(value)) return true
    if (/^(false|no|off|0)$/i.test(value)) return false
    return value
  }
  if (schema instanceof z.ZodArray)
    return value
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
  return value
}

/** yaml ends the first line of a message with the position, which is said already, and quotes the source below. */
function withoutPosition(message: string): string {
  return (message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:$/, '')
}

function within(dotted: string, section: string): boolean {
  return dotted === section || dotted.startsWith(`${section}.`)
}

function suggestion(unknown: string): string {
  const known = listSettings().map((setting) => setting.path)
  const near = nearestKey(unknown, known)
  return near === undefined ? '' : `; did you mean ${near}?`
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}

function getPath(values: unknown, dotted: string): unknown {
  return dotted
    .split('.')
    .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], values)
}

function setPath(values: Record<string, unknown>, dotted: string, value: unknown): void {
  const keys = dotted.split('.')
  const last = keys.pop() as string
  let section = values
  for (const key of keys) {
    const inner = section[key] ?? {}
    // Something else than a section: left for the schema to refuse.
    if (typeof inner !== 'object') return
    section[key] = inner
    section = inner as Record<string, unknown>
  }
  section[last] = value
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) deepFreeze(inner)
  }
  return value
}
