// The README's tables that repeat what the code says: made here from the code, checked by testing/unit/readme.test.ts, and
// written again by `node testing/support/readme-tables.ts`.
import { readFileSync, writeFileSync } from 'node:fs'
import { Registry, type Metric } from '@prometheus-io/client'
import { z } from 'zod'
import { createMetrics as createWorkerMetrics } from '../../services/avscan/metrics.ts'
import { createMetrics as createNotifierMetrics } from '../../services/notifier/metrics.ts'
import { createMetrics as createReconcilerMetrics } from '../../services/reconciler/metrics.ts'
import { createMetrics as createAuditMetrics } from '../../services/store-audit/metrics.ts'
import { configSchema } from '../../services/shared/config-schema.ts'
import { listSettings } from '../../services/shared/config.ts'
import { delayName, topology } from '../../services/shared/topology.ts'

export const root = new URL('../../', import.meta.url)

const code = (text: string) => `\`${text}\``
const cell = (text: string) => text.replaceAll('|', String.raw`\|`)

const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}

function inner(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return inner(schema.unwrap() as z.ZodType)
  return schema instanceof z.ZodOptional ? inner(schema.unwrap() as z.ZodType) : schema
}

/** What may stand there, in a word or as the list of choices. */
function typeOf(schema: z.ZodType): string {
  const type = inner(schema)
  if (type instanceof z.ZodEnum) return type.options.map((one) => code(String(one))).join(', ')
  if (type instanceof z.ZodBoolean) return 'true, false'
  if (type instanceof z.ZodNumber) return 'number'
  return type instanceof z.ZodArray ? 'list' : 'text'
}

function defaultOf(path: string, defaults: unknown): string {
  const value = path
    .split('.')
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], defaults)
  if (value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) return ''
  return code(Array.isArray(value) ? value.join(',') : JSON.stringify(value).replaceAll('"', ''))
}

export function settingsTable(): string {
  const defaults = configSchema.parse({})
  const rows = listSettings().map(({ path, env, schema, description, secret }) => [
    code(path),
    env === undefined ? '' : code(env),
    typeOf(schema),
    defaultOf(path, defaults),
    `${description}${secret === true ? ' (secret)' : ''}`,
  ])
  return table(['In av-scan.yaml', 'Variable', 'Type', 'Default', 'Meaning'], rows)
}

export function endpointTable(): string {
  const endpoint = (inner(configSchema.shape.endpoints) as z.ZodArray<z.ZodObject>).element
  const example = { name: 'x', url: '', secret: `whsec_${'A'.repeat(32)}` }
  const defaults = endpoint.parse(example)
  const rows = Object.entries(endpoint.shape).map(([key, schema]) => [
    code(key),
    typeOf(schema as z.ZodType),
    key in example ? 'required' : defaultOf(key, defaults),
  ])
  return table(['Key of an endpoint', 'Type', 'Default'], rows)
}

function metricRows(registry: Registry, from: string): string[][] {
  return registry
    .getMetricsAsArray()
    .map(
      (metric) =>
        metric as unknown as Metric & {
          labelNames?: string[]
          type: string
          help: string
          name: string
        },
    )
    .filter(({ name }) => name.startsWith('avscan_'))
    .map(({ name, type, labelNames, help }) => [
      code(name),
      from,
      type,
      (labelNames ?? []).map(code).join(', '),
      help,
    ])
}

export function metricsTable(): string {
  const notifier = new Registry()
  createNotifierMetrics(notifier)
  const audit = new Registry()
  createAuditMetrics(audit)
  const reconciler = createReconcilerMetrics(new Registry()).registry
  return table(
    ['Name', 'Of', 'Type', 'Labels', 'Meaning'],
    [
      ...metricRows(createWorkerMetrics().registry, 'avscan'),
      ...metricRows(notifier, 'notifier'),
      ...metricRows(reconciler, 'reconciler'),
      ...metricRows(audit, 'store-audit'),
    ],
  )
}

const isRetry = (name: string) => name.startsWith('avscan.retry.')

export function topologyTable(): string {
  const { exchanges, queues, bindings } = topology(configSchema.parse({}))
  const fedBy = (name: string) =>
    bindings
      .filter(({ queue }) => queue === name)
      .map(({ exchange, key }) => `${code(exchange)} key ${code(key)}`)
      .join(', ')
  const leaves = (args: Record<string, string | number>) => {
    const to = args['x-dead-letter-routing-key']
    const ttl = args['x-message-ttl']
    if (ttl !== undefined) return `after ${delayName(Number(ttl))} to ${code(String(to))}`
    const returns = Number(args['x-delivery-limit']).toLocaleString('en')
    return to === undefined
      ? `returns allowed: ${returns}`
      : `at return ${returns} to ${code(String(to))}`
  }
  const delays = exchanges.filter(({ name }) => isRetry(name)).map(({ name }) => name.slice(13))
  return table(
    ['Name', 'Kind', 'Fed by', 'What leaves unread'],
    [
      ...exchanges
        .filter(({ name }) => !isRetry(name))
        .map(({ name, type }) => [code(name), `${type} exchange`, '', '']),
      ...queues
        .filter(({ name }) => !isRetry(name))
        .map(({ name, arguments: args }) => [
          code(name),
          'quorum queue',
          fedBy(name),
          leaves(args),
        ]),
      [
        code('avscan.retry.<delay>'),
        'fanout exchange and quorum queue',
        'a job that is to be tried again',
        `after its delay back to its queue by ${code('avscan.jobs')}; delays: ${delays.join(', ')}`,
      ],
    ],
  )
}

export function targetsTable(): string {
  const makefile = readFileSync(new URL('Makefile', root), 'utf8')
  const rows = [...makefile.matchAll(/^([a-z-]+):.*?## (.*)$/gm)].map(
    ([, name = '', text = '']) => [code(`make ${name}`), text.replaceAll('$$', '$')],
  )
  return table(['Target', 'What it does'], rows)
}

export function imagesTable(): string {
  const found = new Map<string, string>()
  for (const name of ['compose.yaml', 'compose.clamav-rest.yaml']) {
    const text = readFileSync(new URL(`docker-compose/${name}`, root), 'utf8')
    for (const [, variable = '', image = ''] of text.matchAll(/\$\{([A-Z_]+_IMAGE):-([^}]+)\}/g))
      found.set(variable, image.replace(/^docker\.io\//, ''))
  }
  return table(
    ['Variable', 'Default'],
    [...found].map(([variable, image]) => [code(variable), code(image)]),
  )
}

export const tables: Record<string, () => string> = {
  settings: settingsTable,
  endpoint: endpointTable,
  metrics: metricsTable,
  topology: topologyTable,
  targets: targetsTable,
  images: imagesTable,
}

/** The text between a table's two marks, or undefined when the README has none of that name. */
export function tableIn(readme: string, name: string): string | undefined {
  return new RegExp(`<!-- table: ${name} -->\n\n([^]*?)\n\n<!-- end -->`).exec(readme)?.[1]
}

if (import.meta.main) {
  const file = new URL('README.md', root)
  const readme = readFileSync(file, 'utf8')
  const written = Object.entries(tables).reduce((text, [name, make]) => {
    const old = tableIn(text, name)
    if (old === undefined) throw new Error(`README.md has no place for the table "${name}"`)
    return text.replace(
      `<!-- table: ${name} -->\n\n${old}\n\n<!-- end -->`,
      () => `<!-- table: ${name} -->\n\n${make()}\n\n<!-- end -->`,
    )
  }, readme)
  writeFileSync(file, written)
}
