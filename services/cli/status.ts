// `make status`: what runs, what waits, by which signatures it is judged and what came out. Gathering apart from rendering.
import { fetchText } from './readiness.ts'
import { parseMetrics, sumBy, type Sample } from './metrics-text.ts'
import type { Access, Part, Runtime } from './runtime.ts'
import { isRecord } from './ready-facts.ts'
import { renderReconciler } from './status-reconciler.ts'
import { renderTable } from './table.ts'
import { printable } from '../shared/printable.ts'

export interface Queue {
  name: string
  messages: number
  consumers: number
}

export interface StatusFacts {
  runtime: string
  parts: Part[]
  /** Undefined when the management API does not answer. */
  queues: Queue[] | undefined
  brokerVersion?: string | undefined
  samples: Sample[]
  endpoints: { name: string; url: string }[]
  places: Access['places']
}

export async function gatherStatus(runtime: Runtime): Promise<StatusFacts> {
  const access = await runtime.access()
  const [parts, broker, metrics, endpoints] = await Promise.all([
    runtime.parts(),
    askBroker(access),
    runtime.metrics(),
    runtime.endpoints(),
  ])
  const samples = [...metrics.values()].flatMap((text) =>
    text === undefined ? [] : parseMetrics(text),
  )
  return { runtime: runtime.name, parts, ...broker, samples, endpoints, places: access.places }
}

async function askBroker({
  management,
  caFile,
}: Access): Promise<Pick<StatusFacts, 'queues' | 'brokerVersion'>> {
  const { url, vhost, user, password } = management
  const ask = (path: string) => fetchText(`${url}/api/${path}`, caFile, `${user}:${password}`)
  const [queues, overview] = await Promise.all([
    ask(`queues/${encodeURIComponent(vhost)}`),
    ask('overview'),
  ])
  return {
    queues:
      queues?.ok === true ? (JSON.parse(queues.text) as Partial<Queue>[]).map(queueOf) : undefined,
    brokerVersion:
      overview?.ok === true
        ? (JSON.parse(overview.text) as { rabbitmq_version?: string }).rabbitmq_version
        : undefined,
  }
}

const queueOf = ({ name = '', messages = 0, consumers = 0 }: Partial<Queue>): Queue => ({
  name,
  messages,
  consumers,
})

/** Is everything up? Decides the exit code. */
export function isHealthy({ parts, queues }: StatusFacts): boolean {
  return (
    queues !== undefined &&
    parts.length > 0 &&
    parts.every(({ state }) => state === 'running') &&
    unusableBuckets(parts).size === 0
  )
}

export function renderStatus(facts: StatusFacts): string {
  const { parts, queues, samples, endpoints, places } = facts
  const reconciler = parts.find(({ name }) => name === 'reconciler')
  const rows = parts.map((part) => [
    part.name,
    part.state,
    part.pid === undefined ? '' : String(part.pid),
    part.name === 'broker' ? brokerText(part, facts.brokerVersion) : (part.version ?? ''),
    part.detail ?? '',
  ])
  const store = parts.find(({ name }) => name === 'store')
  if (store !== undefined && !parts.some(({ name }) => name === 'store-audit')) {
    // That store has no such log.
    const state = store.version?.startsWith('VersityGW') === true ? 'none' : 'off'
    rows.push(['store-audit', state, '', '', 'events alone tell of writes'])
  }
  const sections = [
    [`runtime: ${facts.runtime}`],
    renderTable(['part', 'state', 'pid', 'version', ''], rows, 100),
    ...renderBuckets(parts),
    renderSignatures(samples),
    renderVerdicts(samples),
    renderQueues(queues),
    ...(reconciler === undefined ? [] : [renderReconciler(reconciler.facts)]),
    [
      'verdict endpoints',
      ...endpoints.map(
        ({ name, url }) => `  ${name}: ${url === '' ? 'off (no address)' : `on, ${url}`}`,
      ),
    ],
    ['places', ...places.map(({ name, where }) => `  ${name}: ${where}`)],
  ]
  return `${sections.map((lines) => lines.join('\n')).join('\n\n')}\n`
}

/** Why, by the bucket; of all processes that use buckets. */
function unusableBuckets(parts: readonly Part[]): Map<string, string> {
  const said = parts.flatMap(({ facts }) =>
    isRecord(facts?.['unusableBuckets']) ? Object.entries(facts['unusableBuckets']) : [],
  )
  return new Map(said.map(([bucket, why]) => [bucket, String(why)]))
}

function renderBuckets(parts: readonly Part[]): string[][] {
  const unusable = unusableBuckets(parts)
  if (unusable.size === 0) return []
  const lines = [...unusable].map(
    ([bucket, why]) => `  !!!! ${bucket}: NOTHING in it is scanned: ${printable(why)} !!!!`,
  )
  return [['buckets that cannot be used', ...lines]]
}

function brokerText(part: Part, version: string | undefined): string {
  return version === undefined ? (part.version ?? '') : `RabbitMQ ${version}`
}

function renderSignatures(samples: readonly Sample[]): string[] {
  const infos = samples.filter(({ name, value }) => name === 'avscan_signatures_info' && value > 0)
  const lines = new Set(
    infos.map(({ labels }) => {
      const date = labels['signature_date'] ? ` of ${labels['signature_date']}` : ''
      return `  ${labels['engine']} ${labels['engine_version']}: ${labels['signature_set']} set, version ${labels['signature_version']}${date}`
    }),
  )
  if (infos.length === 0)
    return ['signatures', '  unknown: no worker has an engine that passed its canary']
  const isTest = infos.some(({ labels }) => labels['signature_set'] === 'test')
  return [
    'signatures',
    ...lines,
    ...(isTest
      ? [
          '  !!!! EICAR-only TEST SET: real malware is NOT found. SIGNATURES=online make deploy !!!!',
        ]
      : []),
  ]
}

function renderVerdicts(samples: readonly Sample[]): string[] {
  const counts = [...sumBy(samples, 'avscan_objects_total', 'verdict')].toSorted(([a], [b]) =>
    a.localeCompare(b),
  )
  const text = counts.map(([verdict, count]) => `${verdict} ${count}`).join(', ')
  return [
    'verdicts, since the workers started',
    `  ${text === '' ? 'none yet' : text}`,
    ...renderForeign(samples),
    ...renderUnscannable(samples),
  ]
}

function renderForeign(samples: readonly Sample[]): string[] {
  const count = sumBy(samples, 'avscan_jobs_dropped_total', 'why').get('foreign bucket') ?? 0
  return count === 0
    ? []
    : [
        `  !!!! ${count} uploads to buckets that MINIO_BUCKET_NAME does not name were NOT scanned; name them, or take away their event rule !!!!`,
      ]
}

/** What nobody could look into, by container format; what an engine gave up on has none. */
function renderUnscannable(samples: readonly Sample[]): string[] {
  const counts = [...sumBy(samples, 'avscan_unscannable_total', 'format')]
    .filter(([format, count]) => format !== '' && count > 0)
    .toSorted(([a, many], [b, few]) => few - many || a.localeCompare(b))
  if (counts.length === 0) return []
  const text = counts.map(([format, count]) => `${format} ${count}`).join(', ')
  return [`  UNSCANNABLE by container format: ${text}`]
}

function renderQueues(queues: readonly Queue[] | undefined): string[] {
  if (queues === undefined) return ['queues', '  unknown: the management API does not answer']
  const shown = queues.filter(
    ({ name, messages, consumers }) =>
      messages > 0 || consumers > 0 || !name.startsWith('avscan.retry.'),
  )
  return renderTable(
    ['queue', 'messages', 'consumers'],
    shown.map(({ name, messages, consumers }) => [name, String(messages), String(consumers)]),
  )
}
