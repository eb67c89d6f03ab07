// The worker's lanes: live and bulk scan jobs, and actions; what handles each, and what tells that an outage is over.
import { actOnMessage, giveUpAction, type ActionDependencies } from './actions.ts'
import { giveUpMessage, scanMessage, type ScanDependencies } from './scan.ts'
import { Share } from './share.ts'
import type { Config } from '../shared/config-schema.ts'
import type { Delivery, Lane } from '../shared/consumer.ts'
import { GiveWayError, NoSpaceError, NotBegunError, toError } from '../shared/errors.ts'
import { actionsQueue, bulkQueue, jobRetryDelaysMs } from '../shared/topology.ts'

export interface Probes {
  store(): Promise<unknown>
  engine(): Promise<unknown>
  /** Also succeeds while new objects are let pass unscanned. */
  engineOrPass(): Promise<unknown>
}

/** Room in the scan folder without which no object is worth trying. */
const leastRoomBytes = 1024 * 1024
const actionsAtATime = 4

export function createLanes(
  config: Config,
  scanning: ScanDependencies,
  acting: ActionDependencies,
  probes: Probes,
  stopping: AbortSignal,
): Lane[] {
  const share = new Share({ concurrency: config.scan.concurrency })
  const counted = (handle: Lane['handle']) => async (delivery: Delivery) => {
    try {
      await handle(delivery)
    } catch (thrown) {
      if (thrown instanceof NotBegunError || thrown instanceof GiveWayError) throw thrown
      scanning.metrics.failures.inc({ error: toError(thrown).name })
      throw thrown
    }
  }
  const probeWith = (engine: () => Promise<unknown>) => async (error: Error) => {
    await probes.store()
    await scanning.folder.checkRoom(
      error instanceof NoSpaceError ? Math.max(error.needBytes, leastRoomBytes) : leastRoomBytes,
    )
    await engine()
  }
  const scanLane = {
    retryDelaysMs: jobRetryDelaysMs,
    giveUp: (delivery: Delivery, error: Error) => giveUpMessage(delivery, error, scanning),
  }
  return [
    {
      ...scanLane,
      queue: config.broker.queue,
      giveWayTo: bulkQueue(config),
      prefetch: config.scan.concurrency,
      probe: probeWith(() => probes.engineOrPass()),
      handle: counted((delivery) => share.live(() => scanMessage(delivery, scanning))),
    },
    {
      ...scanLane,
      queue: bulkQueue(config),
      prefetch: config.scan.concurrency,
      probe: probeWith(() => probes.engine()),
      handle: counted((delivery) => {
        const signal = AbortSignal.any([delivery.signal, stopping])
        return share.bulk(signal, () => scanMessage(delivery, scanning, 'bulk'))
      }),
    },
    {
      queue: actionsQueue(config),
      prefetch: actionsAtATime,
      retryDelaysMs: jobRetryDelaysMs,
      handle: counted((delivery) => actOnMessage(delivery, acting)),
      giveUp: (delivery, error) => giveUpAction(delivery, error, acting),
      probe: async () => {
        await probes.store()
      },
    },
  ]
}
