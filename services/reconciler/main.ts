// reconciler: finds what has no proven verdict though it should, and puts it back on the lanes. Wiring only.
import { Registry } from '@prometheus-io/client'
import { createMetrics } from './metrics.ts'
import { createSpoolLane } from './spool.ts'
import { connectPublisher } from '../shared/broker.ts'
import { startConsumer, type Consumer } from '../shared/consumer.ts'
import { startHealth } from '../shared/health.ts'
import { runService } from '../shared/lifecycle.ts'
import { createObjectStore } from '../shared/object-store.ts'
import { proofOptions, Proofs } from '../shared/proven.ts'

const required = ['store.user', 'store.password', 'broker.user', 'broker.password', 'proof.key']

await runService('reconciler', { required }, async ({ config, log, signal, defer }) => {
  const metrics = createMetrics(new Registry())
  let consumer: Consumer | undefined
  const health = await startHealth(config, log, {
    notReady: () => (consumer?.ready ? [] : ['not connected to the broker']),
    facts: () => ({ lanes: consumer?.lanes }),
    registry: metrics.registry,
  })
  defer(() => health.close())
  const store = createObjectStore({ ...config.store, caFile: config.tls.ca })
  defer(() => store.close())
  const proofs = new Proofs(store, proofOptions(config))
  const publisher = await connectPublisher(config, log, signal)
  defer(() => publisher.close())
  const lanes = [createSpoolLane(config, { store, proofs, publisher, metrics, log })]
  consumer = await startConsumer(config, lanes, publisher, log, signal)
  defer(() => consumer?.stop(config.shutdown.timeoutMs))
  log.info('ready', { healthPort: health.port })
})
