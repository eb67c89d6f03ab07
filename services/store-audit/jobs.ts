// What the audit log leads to, on the broker: verify jobs on the live lane, and wishes for a sweep, at most one a minute.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Written } from './decide.ts'
import type { AuditEntry } from './entry.ts'
import type { StateFile } from './state.ts'
import type { Publisher } from '../shared/broker.ts'
import { PublishError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import { messageId, type ScanJob, type SweepRequested } from '../shared/messages.ts'
import { names } from '../shared/topology.ts'

export interface JobOptions {
  publisher: Pick<Publisher, 'publish'>
  state: StateFile
  log: Log
  /** Of live jobs. */
  queue: string
  /** Shortest time between two wishes for a sweep, for whoever uploads must not keep the workers busy with everything. */
  sweepEveryMs: number
}

const againMs = 5000

/** ISO 8601. The store's time has nanoseconds, and none of them may get lost. */
export function afterOf(time: string): string {
  return new Date(Date.parse(time) + 1).toISOString()
}

export function createJobs({ publisher, state, log, queue, sweepEveryMs }: JobOptions) {
  let wake: (() => void) | undefined

  const publishSweep = async () => {
    const { pending } = state.current
    if (pending === undefined) return false
    const { after, reason } = pending
    const id = messageId('audit', after, reason)
    const message: SweepRequested = {
      type: 'sweep.requested',
      timestamp: new Date().toISOString(),
      data: { id, reason, after },
    }
    await publisher.publish({
      exchange: names.jobs,
      routingKey: names.reconcile,
      body: Buffer.from(JSON.stringify(message)),
      messageId: id,
      type: message.type,
    })
    // A later one may have come meanwhile.
    if (state.current.pending?.after === after) state.change({ pending: undefined })
    log.info('a sweep is asked for', { id, reason, after })
    return true
  }

  return {
    /** Resolves when the broker has it. @throws PublishError */
    verify: (written: Written, { time, requestId }: AuditEntry): Promise<void> => {
      const { bucket, key, versionId } = written
      const trigger: ScanJob['trigger'] = {
        kind: 'verify',
        id: 'audit',
        after: new Date(afterOf(time)),
      }
      return publisher.publish({
        exchange: names.jobs,
        routingKey: queue,
        body: Buffer.from(JSON.stringify({ objects: [written], trigger })),
        messageId: messageId(bucket, key, versionId, time, requestId, 'audit'),
        type: 'scan',
      })
    },
    /** Noted on disk when it returns; the latest one stands for those that wait. */
    sweep: (after: string, reason: string): void => {
      const { pending } = state.current
      if (pending === undefined || Date.parse(after) > Date.parse(pending.after))
        state.change({ pending: { after, reason } })
      wake?.()
    },
    async run(signal: AbortSignal): Promise<void> {
      signal.addEventListener('abort', () => wake?.(), { once: true })
      while (!signal.aborted) {
        const woken = new Promise<void>((resolve) => (wake = resolve))
        let pauseMs: number | undefined
        try {
          if (await publishSweep()) pauseMs = sweepEveryMs
        } catch (error) {
          if (!(error instanceof PublishError)) throw error
          log.warn('a sweep cannot be asked for yet', { error })
          pauseMs = Math.min(sweepEveryMs, againMs)
        }
        if (pauseMs === undefined) await woken
        else await sleep(pauseMs, undefined, { signal }).catch(() => {})
      }
    },
  }
}

export type Jobs = ReturnType<typeof createJobs>
