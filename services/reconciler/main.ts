// reconciler: finds what has no proven verdict though it should, and puts it back on the lanes. Wiring only.
import { collectDefaultMetrics, Registry } from '@prometheus-io/client'
import { watchBroker } from './broker-watch.ts'
import { CanaryLoop } from './canary-loop.ts'
import { Flow } from './flow.ts'
import { createMetrics } from './metrics.ts'
import { createReconcilerHealth } from './reconciler-health.ts'
import { createRequestLane } from './requests.ts'
import { createSpoolLane } from './spool.ts'
import { openState } from './state.ts'
import { watchStore } from './store-watch.ts'
import { Sweeper } from './sweeper.ts'
import { canaryTimeoutMs, sweepMarginMs } from './timing.ts'
import { connectPublisher } from '../shared/broker.ts'
import { startConsumer } from '../shared/consumer.ts'
import { runService } from '../shared/lifecycle.ts'
import { createObjectStore } from '../shared/object-store.ts'
import { proofOptions, Proofs } from '../shared/proven.ts'
import { waitUntilReady } from '../shared/retry.ts'
import { bulkQueue } from '../shared/topology.ts'

const required = ['store.user', 'store.password', 'broker.user', 'broker.password', 'proof.key']

await runService('reconciler', { required }, async ({ config, log, signal, defer }) => {
  const { buckets, url } = config.store
  const recordsBucket = config.records.bucket
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const metrics = createMetrics(registry)
  const health = createReconcilerHealth(registry)
  const server = await health.listen(config, log)
  defer(() => server.close())
  const store = createObjectStore({ ...config.store, caFile: config.tls.ca })
  defer(() => store.close())
  const proofs = new Proofs(store, proofOptions(config))

  const { waiting } = health
  const probe = () => Promise.all(buckets.map((bucket) => store.ping(bucket)))
  await waitUntilReady('the object store', probe, { log, signal, waiting })
  const open = () => openState(store, recordsBucket, log)
  const state = await waitUntilReady('the records bucket', open, { log, signal, waiting })
  const publisher = await connectPublisher(config, log, signal)
  defer(() => publisher.close())

  const marginMs = sweepMarginMs(config)
  const flow = new Flow({ state, marginMs, onGap: () => metrics.gaps.inc(), log })
  const lost = (reason: string) => flow.lost(reason)
  const watch = await watchBroker(config, lost, log, signal)
  defer(() => watch.close())
  const isBacklogged = async () => ((await watch.depth(config.broker.queue)) ?? 0) > 0
  const timeoutMs = canaryTimeoutMs(config)
  const canary = new CanaryLoop(
    { store, proofs, recordsBucket, isBacklogged, timeoutMs },
    { buckets, intervalMs: config.canary.intervalMs, flow, metrics, log },
  )
  const queue = bulkQueue(config)
  const sweeper = new Sweeper({
    store,
    proofs,
    state,
    buckets,
    log,
    signal,
    bulk: { queue, publisher, log, signal },
    deletes: config.actions.delete,
    intervalMs: config.sweep.intervalMs,
    depth: () => watch.depth(queue),
    onQueued: (why) => metrics.jobs.inc({ why }),
    onSeen: (count) => metrics.seen.inc(count),
    onRunning: (running) => metrics.running.set(running ? 1 : 0),
    onFinished: ({ kind, since, finishedAt = '' }) => {
      if (kind === 'sweep' && since === undefined)
        metrics.lastSuccess.set(Date.parse(finishedAt) / 1000)
    },
  })
  const lanes = [
    createSpoolLane(config, { store, proofs, publisher, metrics, log }),
    createRequestLane({ state, log, rescanWindowMs: config.rescan.windowMs, probe }),
  ]
  const consumer = await startConsumer(config, lanes, publisher, log, signal)
  defer(() => consumer.stop(config.shutdown.timeoutMs))
  const loops = [sweeper.run(), canary.run(signal), watchStore(url, lost, signal)]
  defer(() => Promise.all(loops))
  health.running({ consumer, publisher, sweeper, flow, canary })
  log.info('ready', { buckets, healthPort: server.port })
})
