// What a worker says of itself on /readyz and /metrics: why it does not work at the moment, and by which signatures it judges.
import type { Engine } from './engines/engine.ts'
import type { Metrics } from './metrics.ts'
import type { ScanFolder } from './scan-folder.ts'
import type { Publisher } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import type { Consumer } from '../shared/consumer.ts'
import { describeError } from '../shared/errors.ts'
import { startHealth, type Health } from '../shared/health.ts'
import { version } from '../shared/lifecycle.ts'
import type { Log } from '../shared/log.ts'
import type { UsableBuckets } from '../shared/usable-buckets.ts'

export function createWorkerHealth(
  engines: readonly Engine[],
  metrics: Metrics,
  buckets: Pick<UsableBuckets, 'unusable'>,
) {
  let missing = ['starting']
  let running: { consumer: Consumer; publisher: Publisher; folder: ScanFolder } | undefined

  const notReady = (): string[] => {
    if (running === undefined) return missing
    const reasons = running.consumer.lanes.flatMap(({ queue, paused }) =>
      paused === undefined ? [] : [`${queue} is paused: ${paused}`],
    )
    if (!running.consumer.ready || !running.publisher.connected)
      reasons.push('no connection to the broker')
    return reasons
  }

  return {
    waiting: (reason: Error) => {
      missing = [describeError(reason)]
    },
    consuming: (consumer: Consumer, publisher: Publisher, folder: ScanFolder) => {
      running = { consumer, publisher, folder }
    },
    listen: (config: Config, log: Log): Promise<Health> =>
      startHealth(config, log, {
        notReady,
        facts: () => ({
          version,
          engines: engines.map(({ name, info, addresses }) => ({ name, ...info, addresses })),
          lanes: running?.consumer.lanes,
          unusableBuckets: buckets.unusable,
        }),
        registry: metrics.registry,
        collect: () => {
          for (const { queue, paused, running: count } of running?.consumer.lanes ?? []) {
            metrics.paused.set({ lane: queue }, paused === undefined ? 0 : 1)
            metrics.running.set({ lane: queue }, count)
          }
          metrics.budget.set(running?.folder.budget.usedBytes ?? 0)
          showEngines(engines, metrics)
        },
      }),
  }
}

const breakerStates = { closed: 0, 'half-open': 1, open: 2 }

function showEngines(engines: readonly Engine[], metrics: Metrics): void {
  // Addresses and signatures come and go.
  for (const gauge of [metrics.breaker, metrics.signatures]) gauge.reset()
  for (const { name: engine, addresses, info } of engines) {
    for (const { address, breaker } of addresses)
      metrics.breaker.set({ engine, address }, breakerStates[breaker])
    metrics.canary.set({ engine }, addresses.some(({ canary }) => canary === true) ? 1 : 0)
    if (info === undefined) continue
    metrics.signatures.set(
      {
        engine,
        engine_version: info.engineVersion,
        signature_version: info.signatureVersion,
        signature_date: info.signatureDate ?? '',
        signature_set: info.signatureSet,
      },
      1,
    )
  }
}
