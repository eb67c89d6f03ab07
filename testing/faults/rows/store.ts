// The store in trouble: it answers 503, late and slowly, breaks off or stops in the middle of a download, or is full.
import { setTimeout as pause } from 'node:timers/promises'
import { readPorts } from '../../../services/cli/ports.ts'
import { eventually } from '../../support/eventually.ts'
import { rewire, withEnvironment } from '../support/rewire.ts'
import { noSmallVolume } from '../support/small-volume.ts'
import {
  isDownload,
  startStoreProxy,
  type FaultPlan,
  type StoreProxy,
} from '../support/store-proxy.ts'
import { moveStore } from '../support/small-store.ts'
import type { FaultContext, Row } from '../types.ts'

/** Only our services go through the proxy; the application talks to the store itself. */
const behindProxy = ['avscan-', 'reconciler']

type ProxyRow = Omit<Row, 'inject'> & {
  /** From the beginning until the stream is done and so many requests have met a fault. */
  plan: () => FaultPlan
  atLeast: number
  /** Another fault beside it. */
  beside?: (context: FaultContext, work: () => Promise<void>) => Promise<void>
}

const metBy = ({ seen }: StoreProxy) =>
  Object.values(seen.faults).reduce((sum, count) => sum + count, 0)

export function proxied({ plan, atLeast, beside, ...row }: ProxyRow): Row {
  return {
    ...row,
    async inject(context) {
      const { deployment, parts, say, traffic } = context
      const storePort = readPorts(deployment.runDir)?.store ?? 0
      const proxy = await startStoreProxy({ layout: parts.layout, storePort })
      try {
        const env = { MINIO_SERVER_URL: proxy.url }
        const undo = await rewire(deployment.runDir, withEnvironment(behindProxy, env))
        try {
          const work = async () => {
            proxy.plan(plan())
            await traffic.done()
            await eventually(() => metBy(proxy) >= atLeast, { timeoutMs: 60_000 })
          }
          await (beside === undefined ? work() : beside(context, work))
          proxy.plan(() => undefined)
        } finally {
          await undo()
        }
      } finally {
        await proxy.close()
      }
      say(`${metBy(proxy)} of ${proxy.seen.requests} requests met the fault`)
    },
  }
}

/** Whether that request has been seen fewer than `times` times before. */
function firstTimes(times: number): (url: string) => boolean {
  const seen = new Map<string, number>()
  return (url) => {
    const count = seen.get(url) ?? 0
    seen.set(url, count + 1)
    return count < times
  }
}

/** The suite's store time-out is 10 s. */
const tooLateMs = 12_000

const proxiedRows: readonly Row[] = [
  proxied({
    name: 'store-503',
    title: 'store answers 503 SlowDown to every third request',
    atLeast: 60,
    plan:
      () =>
      ({ index }) =>
        index % 3 === 0 ? { kind: 'answer', status: 503, code: 'SlowDown' } : undefined,
  }),
  proxied({
    name: 'store-slow',
    title: 'store answers late and slowly, some requests later than the time-out',
    atLeast: 600,
    plan:
      () =>
      ({ index }) => ({
        kind: 'slow',
        delayMs: index % 50 === 49 ? tooLateMs : 200,
        bytesPerSecond: 1_000_000,
      }),
  }),
  proxied({
    name: 'download-reset',
    title: 'connection reset in the middle of the first two downloads of each object',
    atLeast: 200,
    plan: () => {
      const again = firstTimes(2)
      return (request) =>
        isDownload(request) && again(request.url) ? { kind: 'reset', afterShare: 0.5 } : undefined
    },
  }),
  proxied({
    name: 'download-stall',
    title: 'store stops in the middle of every tenth download, connection open',
    atLeast: 10,
    plan: () => {
      const again = firstTimes(1)
      let downloads = 0
      return (request) =>
        isDownload(request) && again(request.url) && downloads++ % 10 === 0
          ? { kind: 'stall', afterShare: 0.5 }
          : undefined
    },
  }),
]

/** The stream takes less than half of it. */
const volumeBytes = 256 * 1024 * 1024

const full: Row = {
  name: 'store-full',
  title: "the store's disk is full",
  needs: noSmallVolume,
  rate: 20,
  async inject(context) {
    const { deployment, parts, traffic } = context
    const { volume, moveBack } = await moveStore(deployment.runDir, parts.layout, volumeBytes)
    try {
      await context.recovered()
      await traffic.until(0.4)
      volume.fill(0)
      await pause(context.short ? 5000 : 20_000)
      volume.drain()
      await traffic.done()
    } finally {
      await moveBack()
    }
    context.say(`${traffic.refused} uploads were refused`)
    if (traffic.refused === 0) throw new Error('the store was never full')
  },
}

export const storeRows: readonly Row[] = [...proxiedRows, full]
