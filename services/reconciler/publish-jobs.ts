// Scan jobs of a sweep on the bulk lane: many at a time, each confirmed, none given up.
import { inParallel } from './in-parallel.ts'
import type { Publisher } from '../shared/broker.ts'
import { PublishError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import { messageId, type ObjectRef, type ScanJob } from '../shared/messages.ts'
import { waitUntilReady } from '../shared/retry.ts'
import { names } from '../shared/topology.ts'

const unconfirmedAtATime = 100

export interface BulkLane {
  queue: string
  publisher: Pick<Publisher, 'publish' | 'connected'>
  log: Log
  signal: AbortSignal
}

/** Resolves when the broker has all of them, however long it is away. @throws the signal's reason */
export async function publishJobs(
  objects: readonly ObjectRef[],
  trigger: ScanJob['trigger'],
  { queue, publisher, log, signal }: BulkLane,
): Promise<void> {
  const publish = async (object: ObjectRef) => {
    const { bucket, key, versionId, etag } = object
    await publisher.publish({
      exchange: names.jobs,
      routingKey: queue,
      body: Buffer.from(JSON.stringify({ objects: [object], trigger })),
      messageId: messageId(bucket, key, versionId, etag, trigger.kind, trigger.id),
      type: 'scan',
    })
  }
  let rest = objects
  const publishRest = async () => {
    const failed: ObjectRef[] = []
    let last: PublishError | undefined
    await inParallel(rest, unconfirmedAtATime, async (object) => {
      signal.throwIfAborted()
      try {
        if (last === undefined) await publish(object)
        else failed.push(object)
      } catch (error) {
        if (!(error instanceof PublishError)) throw error
        last = error
        failed.push(object)
      }
    })
    rest = failed
    if (last !== undefined) throw last
  }
  await waitUntilReady('the broker', publishRest, { log, signal })
}
