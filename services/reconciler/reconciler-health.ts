// What the reconciler says of itself on /readyz: how far the sweep is, the spool lane, the canary, and why it is not ready.
import type { Registry } from '@prometheus-io/client'
import type { CanaryLoop } from './canary-loop.ts'
import type { Flow } from './flow.ts'
import type { Sweeper } from './sweeper.ts'
import type { Publisher } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import type { Consumer } from '../shared/consumer.ts'
import { describeError } from '../shared/errors.ts'
import { startHealth, type Health } from '../shared/health.ts'
import { version } from '../shared/lifecycle.ts'
import type { Log } from '../shared/log.ts'
import { spoolQueue } from '../shared/topology.ts'
import type { UsableBuckets } from '../shared/usable-buckets.ts'

export interface Parts {
  consumer: Consumer
  publisher: Publisher
  sweeper: Sweeper
  flow: Flow
  canary: CanaryLoop
}

export function createReconcilerHealth(
  registry: Registry,
  buckets: Pick<UsableBuckets, 'unusable'>,
) {
  let missing = ['starting']
  let parts: Parts | undefined

  const notReady = (): string[] => {
    if (parts === undefined) return missing
    const { consumer, publisher, canary } = parts
    const reasons = consumer.lanes.flatMap(({ queue, paused }) =>
      paused === undefined ? [] : [`${queue} is paused: ${paused}`],
    )
    if (!consumer.ready || !publisher.connected) reasons.push('no connection to the broker')
    const { state, why } = canary.facts
    if (state === 'failing') reasons.push(`the end-to-end canary fails: ${why}`)
    return reasons
  }

  return {
    waiting: (reason: Error) => {
      missing = [describeError(reason)]
    },
    running: (all: Parts) => {
      parts = all
    },
    listen: (config: Config, log: Log): Promise<Health> =>
      startHealth(config, log, {
        notReady,
        facts: () => ({
          version,
          sweep: parts?.sweeper.facts,
          sweeps: parts?.sweeper.all,
          spool: parts?.consumer.lanes.find(({ queue }) => queue === spoolQueue(config)),
          canary: parts?.canary.facts,
          events: parts?.flow.facts,
          lanes: parts?.consumer.lanes,
          unusableBuckets: buckets.unusable,
        }),
        registry,
      }),
  }
}
