// The reconciler's parts, put together from the settings and from what they share.
import type { BrokerWatch } from './broker-watch.ts'
import { CanaryLoop } from './canary-loop.ts'
import { Flow } from './flow.ts'
import type { Metrics } from './metrics.ts'
import { createRequestLane } from './requests.ts'
import { createSpoolLane } from './spool.ts'
import { isOfEverything, type StateFile } from './state.ts'
import { Sweeper } from './sweeper.ts'
import { canaryTimeoutMs, sweepAnywayMs, sweepMarginMs } from './timing.ts'
import type { Publisher } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import type { Lane } from '../shared/consumer.ts'
import type { Log } from '../shared/log.ts'
import type { ObjectStore } from '../shared/object-store.ts'
import { proofOptions, Proofs } from '../shared/proven.ts'
import { bulkQueue } from '../shared/topology.ts'
import type { UsableBuckets } from '../shared/usable-buckets.ts'

export interface Shared {
  store: ObjectStore
  usable: UsableBuckets
  state: StateFile
  publisher: Publisher
  metrics: Metrics
  log: Log
  signal: AbortSignal
  watch: BrokerWatch
}

export interface Assembly {
  flow: Flow
  canary: CanaryLoop
  sweeper: Sweeper
  lanes: Lane[]
}

export function assemble(config: Config, shared: Shared): Assembly {
  const { store, usable, state, publisher, metrics, log, signal, watch } = shared
  const proofs = new Proofs(store, proofOptions(config))
  const queue = bulkQueue(config)
  const depth = () => watch.depth(queue)

  const flow = new Flow({
    state,
    marginMs: sweepMarginMs(config),
    everyMs: sweepAnywayMs(config),
    isIdle: async () => (await depth()) === 0,
    onGap: () => metrics.gaps.inc(),
    log,
  })
  const canary = new CanaryLoop(
    {
      store,
      proofs,
      recordsBucket: config.records.bucket,
      isBacklogged: async () => ((await watch.depth(config.broker.queue)) ?? 0) > 0,
      timeoutMs: canaryTimeoutMs(config),
    },
    { buckets: usable, intervalMs: config.canary.intervalMs, flow, metrics, log },
  )
  const sweeper = new Sweeper({
    store,
    proofs,
    state,
    buckets: usable,
    log,
    signal,
    depth,
    bulk: { queue, publisher, log, signal },
    deletes: config.actions.delete,
    intervalMs: config.sweep.intervalMs,
    onQueued: (why) => metrics.jobs.inc({ why }),
    onSeen: (count) => metrics.seen.inc(count),
    onRunning: (running) => metrics.running.set(running ? 1 : 0),
    onFinished: (sweep) => {
      if (isOfEverything(sweep)) metrics.lastSuccess.set(Date.parse(sweep.finishedAt ?? '') / 1000)
    },
  })
  const probe = () => usable.probe()
  const lanes = [
    createSpoolLane(config, { store, probe, proofs, publisher, metrics, log }),
    createRequestLane({ state, log, rescanWindowMs: config.rescan.windowMs, probe }),
  ]
  return { flow, canary, sweeper, lanes }
}
