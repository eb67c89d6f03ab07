// The spool lane: a copy of each event, old enough for its object to have a verdict. Where none is proven, the object gets a
// verify job at the tail of the live queue: behind a backlog that is after the event's own job, so nothing is scanned twice.
import { isFolder, needOf } from './needs.ts'
import type { Metrics, SpoolOutcome } from './metrics.ts'
import type { Publisher } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import type { Delivery, Lane } from '../shared/consumer.ts'
import { ObjectChangedError, ObjectGoneError, OutageError, toError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import { decodeEvents, messageId, type ScanJob } from '../shared/messages.ts'
import type { ObjectStore } from '../shared/object-store.ts'
import type { Proofs } from '../shared/proven.ts'
import { jobRetryDelaysMs, names, spoolQueue } from '../shared/topology.ts'

export interface SpoolDependencies {
  store: Pick<ObjectStore, 'head'>
  probe: () => Promise<void>
  proofs: Pick<Proofs, 'proven'>
  publisher: Pick<Publisher, 'publish'>
  metrics: Pick<Metrics, 'spool'>
  log: Log
}

const atATime = 16

export function createSpoolLane(config: Config, deps: SpoolDependencies): Lane {
  return {
    queue: spoolQueue(config),
    prefetch: atATime,
    retryDelaysMs: jobRetryDelaysMs,
    handle: (delivery) => checkCopy(delivery, config, deps),
    probe: deps.probe,
  }
}

async function checkCopy(
  delivery: Delivery,
  config: Config,
  deps: SpoolDependencies,
): Promise<void> {
  const jobs = decodeEvents(delivery.body)
  // An event that names no key (VersityGW, POST form) cannot be said as a job of ours; the worker finds what it means.
  if (jobs.some(({ object }) => object.key === '')) {
    await deps.publisher.publish({
      exchange: names.jobs,
      routingKey: config.broker.queue,
      body: delivery.body,
    })
    deps.metrics.spool.inc({ outcome: 'verify' })
    return
  }
  for (const job of jobs) {
    delivery.about = `${job.object.bucket}/${job.object.key}`
    const outcome = await lookAt(job, config, deps)
    if (outcome === 'verify') await requestVerify(job, config, deps)
    deps.metrics.spool.inc({ outcome })
  }
}

async function lookAt(
  { object, trigger: write }: ScanJob,
  config: Config,
  { store, proofs, log }: SpoolDependencies,
): Promise<SpoolOutcome> {
  const { bucket, key, versionId, etag } = object
  if (!config.store.buckets.includes(bucket)) return 'foreign'
  try {
    const facts = await store.head({ bucket, key, versionId })
    if (isFolder(key, facts.size)) return 'folder'
    // Without a versionId in the event this may be another version than the one that is meant.
    if (versionId === undefined && (facts.versionId !== undefined || facts.etag !== etag))
      return 'verify'
    const need = needOf(await proofs.proven({ bucket, key, facts }), {
      deletes: config.actions.delete,
      write,
    })
    // What was passed on or given up gets its next try from a sweep, not a minute later.
    return need === 'unproven' || need === 'undeleted' ? 'verify' : 'proven'
  } catch (thrown) {
    const error = toError(thrown)
    if (error instanceof OutageError) throw error
    const gone = error instanceof ObjectGoneError || error instanceof ObjectChangedError
    if (gone) return versionId === undefined ? 'verify' : 'gone'
    // In doubt the worker decides.
    log.warn('the store answers oddly for an object, it gets a verify job', { bucket, key, error })
    return 'verify'
  }
}

async function requestVerify(
  { object: { bucket, key, versionId, etag, size, sequencer }, trigger }: ScanJob,
  config: Config,
  { publisher }: SpoolDependencies,
): Promise<void> {
  const object = { bucket, key, versionId, etag, size }
  await publisher.publish({
    exchange: names.jobs,
    routingKey: config.broker.queue,
    body: Buffer.from(
      JSON.stringify({ objects: [object], trigger: { ...trigger, kind: 'verify', id: 'spool' } }),
    ),
    messageId: messageId(bucket, key, versionId, etag, sequencer, 'verify'),
    type: 'scan',
  })
}
