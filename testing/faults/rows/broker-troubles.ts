// The broker is there and does not do its work: alarms, hung, queues that refuse, deliveries that it takes back.
import { setTimeout as pause } from 'node:timers/promises'
import { names, retryExchange } from '../../../services/shared/topology.ts'
import { eventually } from '../../support/eventually.ts'
import { brokerFaults, type BrokerFaults } from '../support/broker-faults.ts'
import { rewire, type Change, type Undo } from '../support/rewire.ts'
import type { FaultContext, Row } from '../types.ts'
import { isDownload } from '../support/store-proxy.ts'
import { proxied } from './store.ts'
import { forget, stopWorkers, wakeWorkers } from './steps.ts'

const faultsOf = ({ deployment, broker }: FaultContext) =>
  brokerFaults(deployment.runDir, broker.config.broker.vhost)

/** Longer than the suite's time-out of 5 s for a confirm. */
const alarmMs = ({ short }: FaultContext) => (short ? 7000 : 30_000)

function alarm(name: string, title: string, raise: (faults: BrokerFaults) => Promise<Undo>): Row {
  return {
    name,
    title,
    async inject(context) {
      await context.traffic.until(0.2)
      const clear = await raise(faultsOf(context))
      try {
        await pause(alarmMs(context))
      } finally {
        await clear()
      }
    },
  }
}

const hungAndStoreKilled: Row = {
  name: 'broker-hung-store-killed',
  title: 'broker hung (SIGSTOP), and the store killed meanwhile',
  async inject({ parts, traffic, say }) {
    await traffic.until(0.2)
    parts.signal('broker', 'SIGSTOP')
    try {
      // Without an answer to its event MinIO gives none to the upload, so the stream may never get that far.
      await Promise.race([traffic.until(0.7), pause(10_000)])
      say(`${traffic.uploads.length} uploads answered when the store was killed`)
      parts.signal('store', 'SIGKILL')
      await pause(5000)
    } finally {
      parts.signal('broker', 'SIGCONT')
    }
    await parts.ready('broker')
    await parts.ready('store')
  },
  expectations: { quietMs: 180_000 },
}

const consumerTimeoutMs = 2000
const slowMs = 6000

const consumerTimeout: Row = proxied({
  name: 'consumer-timeout',
  title: 'the broker takes deliveries back while a slow download holds them (consumer_timeout)',
  atLeast: 12,
  plan: () => {
    let downloads = 0
    return (request) =>
      isDownload(request) && downloads++ < 24
        ? { kind: 'slow', delayMs: slowMs, bytesPerSecond: 10_000_000 }
        : undefined
  },
  async beside(context, work) {
    const { broker, parts } = context
    const faults = faultsOf(context)
    const undo = await faults.consumerTimeout(consumerTimeoutMs)
    try {
      await faults.closeConnections()
      parts.newLines('broker', 'consumer-timeout')
      await work()
      const lines = parts.newLines('broker', 'consumer-timeout')
      const taken = lines.filter((line) => line.includes('timed out waiting for delivery'))
      context.say(`${taken.length} lines about deliveries that timed out`)
      if (taken.length === 0) throw new Error('no delivery timed out')
    } finally {
      await undo?.()
      await faults.closeConnections()
    }
    await eventually(() => broker.ready(), { timeoutMs: 60_000, everyMs: 500 })
  },
})

/** The broker offers a dead letter that was not taken again after so long (dead_letter_worker_publisher_confirm_timeout). */
const offeredAgainMs = 180_000
/** And so long where a row shortens it, as all delays are. */
const offeredSoonerMs = 3000
const erlangArguments = 'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS'
const offerSooner: Change = (child) => {
  if (child.name !== 'broker') return child
  const setting = `-rabbit dead_letter_worker_publisher_confirm_timeout ${offeredSoonerMs}`
  return {
    ...child,
    env: { ...child.env, [erlangArguments]: `${child.env[erlangArguments] ?? ''} ${setting}` },
  }
}

function retryTarget(
  name: string,
  title: string,
  { sooner }: { sooner: boolean },
  refuse: (context: FaultContext, queue: string) => Promise<Undo>,
): Row {
  let undo: Undo | undefined
  return {
    name,
    title,
    async before(context) {
      if (sooner) undo = await rewire(context.deployment.runDir, offerSooner)
      await context.recovered()
      await stopWorkers(context)
    },
    async inject(context) {
      const { broker, traffic, uploader } = context
      const { config } = broker
      const { queue } = config.broker
      const ladder = retryExchange(Math.round(60_000 * config.retry.scale))
      await traffic.done()
      await forget(context, true)
      const accept = await refuse(context, queue)
      try {
        const jobs = traffic.uploads.map(({ key, versionId, etag }) => ({
          objects: [{ bucket: uploader.bucket, key, versionId, etag }],
          trigger: { kind: 'manual' },
        }))
        await broker.publish(ladder, queue, jobs)
        // Expired and refused they are ready no more, and still in the queue by the management API's late count. Of a full
        // queue the first few are taken all the same.
        await eventually(
          async () => {
            const ready = (await broker.ready()).get(ladder) ?? 0
            const all = (await broker.all()).get(ladder) ?? 0
            if (ready > 0 || all === 0) throw new Error(`${ladder}: ${ready} ready, ${all} in all`)
          },
          { timeoutMs: 60_000, everyMs: 500 },
        )
      } finally {
        await accept()
        wakeWorkers(context)
      }
      // What is not offered yet is in none of the broker's exact counts.
      await eventually(
        async () => {
          const left = (await broker.all()).get(ladder) ?? 0
          if (left > 0) throw new Error(`${left} messages are still on their way from ${ladder}`)
        },
        { timeoutMs: offeredAgainMs + 60_000, everyMs: 2000 },
      )
      await undo?.()
      await context.recovered()
    },
  }
}

export const brokerTroubles: readonly Row[] = [
  alarm('memory-alarm', 'broker under a memory alarm', (faults) => faults.memoryAlarm()),
  alarm('disk-alarm', 'broker under a disk alarm', (faults) => faults.diskAlarm()),
  hungAndStoreKilled,
  consumerTimeout,
  retryTarget(
    'retry-unroutable',
    'no binding to the target queue while a retry TTL fires',
    { sooner: true },
    async ({ broker }, queue) => {
      const vhost = encodeURIComponent(broker.config.broker.vhost)
      const bindings = `bindings/${vhost}/e/${names.jobs}/q/${queue}`
      await broker.api('DELETE', `${bindings}/${queue}`)
      return async () => void (await broker.api('POST', bindings, { routing_key: queue }))
    },
  ),
  retryTarget(
    'retry-refused',
    'target queue full while a retry TTL fires',
    { sooner: false },
    async (context, queue) => {
      const { broker } = context
      await broker.publish(names.jobs, queue, [{ Event: 's3:TestEvent' }])
      const lift = await faultsOf(context).limitLength(queue, 1)
      return async () => {
        await lift()
        // RabbitMQ 3.10 goes on refusing on every channel that met the limit, also when the policy is gone.
        await context.parts.killAndReturn('broker', 'SIGTERM')
      }
    },
  ),
]
