// reconciler: finds what has no proven verdict though it should, and puts it back on the lanes. Wiring only.
import { collectDefaultMetrics, Registry } from '@prometheus-io/client'
import { assemble } from './assembly.ts'
import { watchBroker } from './broker-watch.ts'
import type { Flow } from './flow.ts'
import { createMetrics } from './metrics.ts'
import { createReconcilerHealth } from './reconciler-health.ts'
import { openState } from './state.ts'
import { watchStore } from './store-watch.ts'
import { connectPublisher } from '../shared/broker.ts'
import { startConsumer } from '../shared/consumer.ts'
import { runService } from '../shared/lifecycle.ts'
import { createObjectStore } from '../shared/object-store.ts'
import { waitUntilReady } from '../shared/retry.ts'
import { UsableBuckets } from '../shared/usable-buckets.ts'

const required = ['store.user', 'store.password', 'broker.user', 'broker.password', 'proof.key']

await runService('reconciler', { required }, async ({ config, log, signal, defer }) => {
  const { buckets, url } = config.store
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const metrics = createMetrics(registry)
  const store = createObjectStore({ ...config.store, caFile: config.tls.ca })
  defer(() => store.close())
  const usable = new UsableBuckets(buckets, store, log)
  const health = createReconcilerHealth(registry, usable)
  const server = await health.listen(config, log)
  defer(() => server.close())

  const { waiting } = health
  await waitUntilReady('the object store', () => usable.probe(), { log, signal, waiting })
  const open = () => openState(store, config.records.bucket, log)
  const state = await waitUntilReady('the records bucket', open, { log, signal, waiting })
  const publisher = await connectPublisher(config, log, signal)
  defer(() => publisher.close())
  let flow: Flow | undefined
  const lost = (reason: string) => flow?.lost(reason)
  const watch = await watchBroker(config, lost, log, signal)
  defer(() => watch.close())

  const parts = assemble(config, { store, usable, state, publisher, metrics, log, signal, watch })
  flow = parts.flow
  const consumer = await startConsumer(config, parts.lanes, publisher, log, signal)
  defer(() => consumer.stop(config.shutdown.timeoutMs))
  const loops = [
    parts.sweeper.run(),
    parts.canary.run(signal),
    watchStore(url, lost, signal),
    usable.watch(signal),
  ]
  defer(() => Promise.all(loops))
  health.running({ ...parts, consumer, publisher })
  log.info('ready', { buckets, healthPort: server.port })
})
