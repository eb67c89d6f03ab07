// The notifier: every endpoint's queue → signed webhooks. Wiring only.
import { Registry } from '@prometheus-io/client'
import { connectPublisher } from '../shared/broker.ts'
import { allEndpoints } from '../shared/config-schema.ts'
import { startConsumer, type Consumer } from '../shared/consumer.ts'
import { startHealth } from '../shared/health.ts'
import { runService } from '../shared/lifecycle.ts'
import { trustedCas } from '../shared/trust.ts'
import { createDeliverer, endpointLabel, pauseAfterGoneMs } from './deliver.ts'
import { createMetrics } from './metrics.ts'
import { createPoster } from './post.ts'

const required = ['broker.user', 'broker.password']

await runService('notifier', { required }, async ({ config, log, signal, defer }) => {
  const registry = new Registry()
  const metricsOf = createMetrics(registry)
  const ca = trustedCas(config.tls.ca)
  const { timeoutMs, concurrency } = config.webhook

  const endpoints = allEndpoints(config).map((endpoint) => {
    const name = endpointLabel(endpoint)
    const poster =
      endpoint.url === ''
        ? undefined
        : createPoster(endpoint.url, { timeoutMs, connections: concurrency, ca })
    defer(() => poster?.close())
    log.info('endpoint', { endpoint: name, host: poster?.host ?? 'off', format: endpoint.format })
    const pauseMs = pauseAfterGoneMs * config.retry.scale
    const metrics = metricsOf(name)
    return { name, lane: createDeliverer(endpoint, { poster, concurrency, pauseMs, metrics, log }) }
  })

  let consumer: Consumer | undefined
  const health = await startHealth(config, log, {
    notReady: () => (consumer?.ready ? [] : ['not connected to the broker']),
    facts: () => ({
      endpoints: Object.fromEntries(endpoints.map(({ name, lane }) => [name, lane.status])),
      lanes: consumer?.lanes,
    }),
    registry,
  })
  defer(() => health.close())

  const publisher = await connectPublisher(config, log, signal)
  defer(() => publisher.close())
  consumer = await startConsumer(
    config,
    endpoints.map(({ lane }) => lane),
    publisher,
    log,
    signal,
  )
  defer(() => consumer?.stop(config.shutdown.timeoutMs))
  log.info('ready', { endpoints: endpoints.length, healthPort: health.port })
})
