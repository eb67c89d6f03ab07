// What a sweep looks like from outside: the facts of the reconciler's /readyz, and the bulk queue at the broker.
import { connect, type Channel, type ChannelModel } from 'amqplib'
import { amqpOptions } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import { bulkQueue } from '../shared/topology.ts'

export interface SweepFacts {
  id: string
  running: boolean
  /** Why it does not go on at the moment. */
  paused?: string | undefined
  finishedAt?: string | undefined
  /** Objects that were looked at. */
  seen: number
  /** Jobs in the bulk lane. */
  queued: number
  /** Objects per second. */
  rate?: number | undefined
  /** Objects that the last sweep of everything saw. */
  total?: number | undefined
}

export interface Facts {
  /** The sweep with the id that was asked for: waiting, running or finished. */
  ours: SweepFacts | undefined
  /** Another one that is at work; of those that have begun, one at a time is. */
  other: SweepFacts | undefined
}

export interface Watch {
  where: string
  /** Undefined when the reconciler does not answer. */
  facts(id: string): Promise<Facts | undefined>
  /** Jobs that wait in the bulk lane; undefined when the broker does not answer. */
  depth(): Promise<number | undefined>
  close(): Promise<void>
}

const timeoutMs = 5000

export function createWatch(config: Config): Watch {
  const { host, port } = config.http
  // Listening on all addresses is no address.
  const name = ['0.0.0.0', '::', ''].includes(host) ? '127.0.0.1' : host
  const where = `http://${name.includes(':') ? `[${name}]` : name}:${port}/readyz`
  let model: ChannelModel | undefined
  let channel: Channel | undefined

  const open = async (): Promise<Channel> => {
    if (channel !== undefined) return channel
    const { url, socket } = amqpOptions(config)
    const opened = await connect(url, socket)
    model = opened
    opened.on('error', () => {})
    opened.on('close', () => (channel = undefined))
    const ready = await opened.createChannel()
    ready.on('error', () => {})
    channel = ready
    return ready
  }

  return {
    where,
    async facts(id) {
      try {
        // 503 says that something is wrong; the facts are there all the same.
        const answer = await fetch(where, { signal: AbortSignal.timeout(timeoutMs) })
        return readFacts(await answer.json(), id)
      } catch {
        return undefined
      }
    },
    async depth() {
      try {
        return (await (await open()).checkQueue(bulkQueue(config))).messageCount
      } catch {
        return undefined
      }
    },
    async close() {
      await model?.close().catch(() => {})
    },
  }
}

/** @param answer of /readyz: `sweeps` has all that wait, run or have just ended */
export function readFacts(answer: unknown, id: string): Facts {
  const { sweep, sweeps } = answer as { sweep?: unknown; sweeps?: unknown }
  const all = [sweep, ...(Array.isArray(sweeps) ? (sweeps as unknown[]) : [])].flatMap(sweepOf)
  const running = all.filter((one) => one.running && one.id !== id)
  return {
    ours: all.find((one) => one.id === id),
    other: running.find(({ rate = 0 }) => rate > 0) ?? running[0],
  }
}

function sweepOf(value: unknown): SweepFacts[] {
  if (typeof value !== 'object' || value === null) return []
  const { id, running, seen = 0, queued = 0, ...rest } = value as Partial<SweepFacts>
  return id === undefined ? [] : [{ ...rest, id, running: running === true, seen, queued }]
}

/** Change per second over the last readings. @returns a function that takes a reading */
export function createRate(now = () => performance.now()): (value: number) => number {
  const readings: { at: number; value: number }[] = []
  return (value) => {
    const at = now()
    readings.push({ at, value })
    if (readings.length > 20) readings.shift()
    const [first] = readings
    return first === undefined || at === first.at
      ? 0
      : ((value - first.value) * 1000) / (at - first.at)
  }
}
