// What several rows do: workers that look away, events that get lost, jobs instead of events, parts that stay away.
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { bulkQueue, names, spoolHoldQueue } from '../../../services/shared/topology.ts'
import { eventually } from '../../support/eventually.ts'
import type { FaultContext } from '../types.ts'

/** Their consumers stay, but nothing is scanned: events heap up, all but the few that they hold already. */
export async function stopWorkers({ parts }: FaultContext): Promise<void> {
  parts.signalAll(parts.workers(), 'SIGSTOP')
}

export function wakeWorkers({ parts }: FaultContext): void {
  parts.signalAll(parts.workers(), 'SIGCONT')
}

/** Takes the waiting events away, also the store's second copies where `copies`; returns how many objects it were. */
export async function forget({ broker }: FaultContext, copies = false): Promise<number> {
  const { config } = broker
  if (copies) await broker.purge(spoolHoldQueue(config))
  return broker.purge(config.broker.queue)
}

/** One job for every upload so far. */
export async function requestJobs(
  kind: 'verify' | 'sweep',
  { broker, traffic, uploader: { bucket } }: FaultContext,
): Promise<void> {
  const { config } = broker
  const queue = kind === 'verify' ? config.broker.queue : bulkQueue(config)
  const jobs = traffic.uploads.map(({ key, versionId, etag }) => ({
    objects: [{ bucket, key, versionId, etag }],
    trigger: { kind, id: 'faults' },
  }))
  await broker.publish(names.jobs, queue, jobs)
}

/** As `make sweep` does. */
export async function requestSweep({ broker }: FaultContext): Promise<void> {
  const data = { id: randomUUID(), reason: 'fault suite' }
  const timestamp = new Date().toISOString()
  await broker.publish(names.jobs, names.reconcile, [{ type: 'sweep.requested', timestamp, data }])
}

/** Kills a part again as often as the supervisor starts it, for that long, and waits until it is back. */
export async function keepDown(part: string, forMs: number, { parts }: FaultContext) {
  const until = performance.now() + forMs
  let last: number | undefined
  while (performance.now() < until) {
    try {
      const pid = parts.pid(part)
      if (pid !== last) parts.signal(part, 'SIGKILL')
      last = pid
    } catch {
      // It is down at the moment, as it should be.
    }
    await pause(100)
  }
  await parts.ready(part)
}

/** Until so many messages are ready in a queue. */
export async function heaped(queue: string, atLeast: number, { broker }: FaultContext) {
  await eventually(
    async () => {
      const count = (await broker.ready()).get(queue) ?? 0
      if (count < atLeast) throw new Error(`${count} of ${atLeast} messages are in ${queue}`)
    },
    { timeoutMs: 60_000, everyMs: 200 },
  )
}

/** Messages that are no jobs: they cost nothing but their way through the broker. */
export const fillers = (count: number) =>
  Array.from({ length: count }, () => ({ Event: 's3:TestEvent' }))

/** For `needs`. */
export const withReconciler = ({ parts }: Pick<FaultContext, 'parts'>) =>
  parts.has('reconciler') ? undefined : 'there is no reconciler'
