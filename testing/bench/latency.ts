// How long an upload waits for its verdict. One clock: this process uploads, and it consumes the verdicts and receives the webhooks.
import { connect } from 'amqplib'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { names } from '../../services/shared/topology.ts'
import { eventually } from '../support/eventually.ts'
import { putBombs } from '../faults/support/bombs.ts'
import type { Bench } from './bench.ts'
import { percentile, round } from './report.ts'
import type { Stage } from './stage.ts'

interface Latency {
  /** ms from the answer to the upload until the verdict was published, which the worker does after the tag is written. */
  tagged: number[]
  /** ms from the answer to the upload until the webhook was here. */
  told: number[]
}

interface Told {
  data: { s3ObjectDetails: { objectKey: string } }
}

/** Uploads `files` at a steady rate. */
async function measure(
  stage: Stage,
  files: readonly Buffer[],
  perSecond: number,
): Promise<Latency> {
  const { uploader, receiver, access } = stage
  const { caFile, ...where } = access
  const model = await connect(where, { ca: readFileSync(caFile, 'utf8'), servername: '' })
  model.on('error', () => {})
  const channel = await model.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, names.verdicts, 'verdict.#')
  const tagged = new Map<string, number>()
  await channel.consume(
    queue,
    (message) => {
      if (message === null) return
      const at = performance.now()
      const { data } = JSON.parse(message.content.toString()) as Told
      tagged.set(data.s3ObjectDetails.objectKey, at)
    },
    { noAck: true },
  )
  const told = new Map<string, number>()
  receiver.always((_, response) => {
    const at = performance.now()
    response.writeHead(204).end()
    const key = receiver.requests.at(-1)?.body.data.s3ObjectDetails.objectKey
    if (key !== undefined) told.set(key, at)
  })
  const prefix = `latency-${performance.now()}/`
  const answered = new Map<string, number>()
  const begun = performance.now()
  const uploads: Promise<void>[] = []
  for (const [index, file] of files.entries()) {
    const due = begun + (index * 1000) / perSecond
    const wait = due - performance.now()
    if (wait > 0) await pause(wait)
    const key = `${prefix}${index}`
    uploads.push(uploader.put(key, file).then(() => void answered.set(key, performance.now())))
  }
  await Promise.all(uploads)
  await eventually(() => [...answered.keys()].every((key) => tagged.has(key) && told.has(key)), {
    timeoutMs: 60_000,
    everyMs: 50,
  })
  await model.close()
  const since = (ends: ReadonlyMap<string, number>) =>
    [...answered].map(([key, at]) => Math.max(0, (ends.get(key) as number) - at))
  return { tagged: since(tagged), told: since(told) }
}

const percentiles = (values: readonly number[]): string =>
  `${[0.5, 0.95, 0.99].map((share) => round(percentile(values, share), 1)).join(' / ')} ms`

export async function latencies({ stage, corpora, clamd, sizes, results, ...bench }: Bench) {
  const section = 'Latency, S, EICAR only, 1 worker: p50 / p95 / p99'
  const { files } = corpora.S
  const take = (count: number) =>
    Array.from({ length: count }, (_, index) => files[index % files.length] as Buffer)
  // The worker names who is told, the notifier tells.
  const env = { PUBLISH_URL: stage.receiver.url(), REPORT_CLEAN: 'true' }
  await stage.workers({ count: 1, sockets: [clamd.socket], env })
  await stage.notifier(env)
  // The first ones meet code that has not been compiled.
  await measure(stage, take(100), 50)
  const idle = await measure(stage, take(sizes.latency), 20)
  const drained = results.drains.flatMap(({ bars }) => bars)
  const full = drained.find(({ label }) => label === 'ours, 1 worker')?.value ?? 300
  // An upload costs these cores about as much as a scan: this is half of what both together reach.
  const rate = full / 4
  const busy = await measure(stage, take(sizes.latency * 2), rate)
  const { takeBack } = await putBombs(stage.other, 'bombs/', 8)
  const beside = await measure(stage, take(sizes.latency), 20)
  await takeBack()
  await stage.notifier({ PUBLISH_URL: '', REPORT_CLEAN: 'false' })
  bench.figure(section, 'idle: → tag written (verdict published)', percentiles(idle.tagged))
  bench.figure(section, 'idle: → webhook received', percentiles(idle.told))
  const load = `half load (${round(rate)}/s)`
  bench.figure(section, `${load}: → tag written (verdict published)`, percentiles(busy.tagged))
  bench.figure(section, `${load}: → webhook received`, percentiles(busy.told))
  bench.figure(section, 'beside 8 bombs of another: → webhook received', percentiles(beside.told))
  const p95 = percentile(beside.told, 0.95)
  bench.target(
    'beside bombs: 8 zips of 2 GB each by another uploader, PUT answered → webhook',
    `p95 ${round(p95, 1)} ms`,
    'p95 ≤ 2000 ms',
    p95 <= 2000,
  )
  const [p50, p99] = [percentile(idle.tagged, 0.5), percentile(idle.tagged, 0.99)]
  bench.target(
    'idle latency, S, PUT answered → tag written',
    `p50 ${round(p50, 1)}, p99 ${round(p99, 1)} ms`,
    'p50 ≤ 12, p99 ≤ 50 ms',
    p50 <= 12 && p99 <= 50,
  )
}
