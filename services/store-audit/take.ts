// One batch of the audit log: every entry looked at, and all that it leads to confirmed by the broker, before it is acknowledged.
import type { Alerts } from './alerts.ts'
import { decide } from './decide.ts'
import { parseEntry } from './entry.ts'
import { afterOf, type Jobs } from './jobs.ts'
import { linesOf } from './lines.ts'
import type { Metrics } from './metrics.ts'
import type { Pulse } from './pulse.ts'
import type { Uploads } from './uploads.ts'
import { describeError, FatalError, PublishError, toError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'

export interface TakeOptions {
  buckets: readonly string[]
  jobs: Pick<Jobs, 'verify' | 'sweep'>
  pulse: Pick<Pulse, 'batch' | 'seen'>
  uploads: Uploads
  alerts: Alerts
  metrics: Metrics
  log: Pick<Log, 'warn'>
  now?: () => number
}

/** Everything is to be judged again that was judged before `time`. */
type Sweep = (time: string, reason: string) => void

const unconfirmedAtATime = 100

/** @returns what takes the body of a request. It throws PublishError or FatalError when the batch has to come again. */
export function createTake(options: TakeOptions): (body: AsyncIterable<Buffer>) => Promise<void> {
  const { jobs, pulse, uploads, alerts, metrics, log, now = Date.now } = options
  const buckets = new Set(options.buckets)

  const one = (line: string, sweep: Sweep): Promise<void> | undefined => {
    const entry = parseEntry(line, now())
    if (pulse.seen(entry)) {
      metrics.entries.inc({ outcome: 'own' })
      return undefined
    }
    const decision = decide(entry, buckets, uploads.has)
    metrics.entries.inc({ outcome: decision.kind })
    if ('signs' in decision && decision.signs.length > 0) alerts.tell(entry, decision)
    if (decision.kind === 'begun') uploads.add(decision.written)
    if (decision.kind === 'sweep') sweep(entry.time, 'writes that the audit log does not name')
    return decision.kind === 'verify' ? jobs.verify(decision.written, entry) : undefined
  }

  return async (body) => {
    // What each of them failed with: a rejection that waits for the next chunk of a body would end the process.
    let unconfirmed: Promise<Error | undefined>[] = []
    let wish: { time: string; reason: string } | undefined
    const sweep: Sweep = (time, reason) => {
      if (wish === undefined || Date.parse(time) > Date.parse(wish.time)) wish = { time, reason }
    }
    const unreadable = (why: string) => {
      metrics.entries.inc({ outcome: 'unreadable' })
      log.warn('an entry of the audit log cannot be read, so everything is judged again', { why })
      sweep(new Date(now()).toISOString(), 'an unreadable entry of the audit log')
    }
    /** Whatever else an entry can cause would come again with it for ever. */
    const skip = (error: Error) => {
      if (error instanceof PublishError || error instanceof FatalError) throw error
      unreadable(describeError(error))
    }
    const confirmed = async () => {
      const failed = (await Promise.all(unconfirmed)).filter((error) => error !== undefined)
      unconfirmed = []
      for (const error of failed) skip(error)
    }
    try {
      for await (const line of linesOf(body, () => unreadable('it is longer than any of MinIO'))) {
        try {
          const published = one(line, sweep)
          if (published !== undefined) unconfirmed.push(published.then(() => undefined, toError))
        } catch (error) {
          skip(toError(error))
        }
        if (unconfirmed.length >= unconfirmedAtATime) await confirmed()
      }
    } finally {
      await confirmed()
    }
    // Written down once for all of them: whoever makes thousands makes one.
    if (wish !== undefined) jobs.sweep(afterOf(wish.time), wish.reason)
    pulse.batch()
    metrics.lastBatch.set(Date.now() / 1000)
  }
}
