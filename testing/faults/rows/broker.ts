// The broker away for a moment, for a minute, and with ten thousand messages in its queues.
import { names, retryExchange } from '../../../services/shared/topology.ts'
import { eventually } from '../../support/eventually.ts'
import type { FaultContext, Row } from '../types.ts'
import { fillers, forget, heaped, keepDown, stopWorkers, wakeWorkers } from './steps.ts'

const many = ({ short }: FaultContext) => (short ? 2000 : 10_000)

/** RETRY_SCALE makes it 10 s, long enough to fill it. */
const longestStepMs = 10 * 60_000

export const brokerRows: readonly Row[] = [
  {
    name: 'broker-restart',
    title: 'restart of the broker under load',
    short: true,
    inject: async ({ parts, traffic }) => {
      await traffic.until(0.4)
      await parts.killAndReturn('broker', 'SIGTERM')
    },
  },
  {
    name: 'broker-restart-queued',
    title: 'restart and kill -9 of the broker with 10,000 messages queued',
    before: stopWorkers,
    inject: async (context) => {
      const { broker, parts, traffic } = context
      const { queue } = broker.config.broker
      await traffic.done()
      const waiting = (await broker.ready()).get(queue) ?? 0
      await broker.publish(names.jobs, queue, fillers(many(context)))
      const expected = waiting + many(context)
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await parts.killAndReturn('broker', signal)
        await heaped(queue, expected, context)
      }
      wakeWorkers(context)
    },
  },
  {
    name: 'retry-expiring',
    title: 'kill -9 of the broker while 10,000 messages of a retry queue expire',
    before: stopWorkers,
    inject: async (context) => {
      const { broker, parts, traffic, uploader } = context
      const { queue } = broker.config.broker
      const ladder = retryExchange(Math.round(longestStepMs * broker.config.retry.scale))
      await traffic.done()
      await forget(context)
      const jobs = traffic.uploads.map(({ key, versionId, etag }) => ({
        objects: [{ bucket: uploader.bucket, key, versionId, etag }],
        trigger: { kind: 'manual' },
      }))
      const bodies = fillers(many(context)) as object[]
      for (const [index, job] of jobs.entries())
        bodies.splice(Math.floor((index * bodies.length) / jobs.length), 0, job)
      await broker.publish(ladder, queue, bodies)
      await heaped(queue, 500, context)
      parts.signal('broker', 'SIGKILL')
      await parts.ready('broker')
      await eventually(
        async () => {
          const left = (await broker.ready()).get(ladder) ?? 0
          if (left > 0) throw new Error(`${left} messages are still in ${ladder}`)
        },
        { timeoutMs: 60_000, everyMs: 500 },
      )
      await heaped(queue, bodies.length, context)
      wakeWorkers(context)
    },
  },
  {
    name: 'broker-down',
    title: 'broker down for a minute under load',
    rate: 6,
    objects: 240,
    inject: async (context) => {
      await context.traffic.until(0.1)
      await keepDown('broker', context.short ? 10_000 : 60_000, context)
    },
  },
]
