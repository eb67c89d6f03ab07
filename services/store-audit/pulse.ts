// Is the audit log complete? Every minute we make a call of our own, without an identity, and wait for its entry. MinIO drops
// entries in silence (its queue is full, it is killed with some in memory, somebody switches the log off), and then one of ours
// is missing or the backlog is as long as the queue.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AuditEntry } from './entry.ts'
import { afterOf } from './jobs.ts'
import type { StateFile } from './state.ts'

/** In the query of our call. */
export const pulseName = 'avscan-audit'
/** The store's queue may hold a few files more or less when it is full. */
const fullShare = 0.9
/** Entries of one store can come in another order, by some seconds. */
const graceIntervals = 2
const silentIntervals = 3
const mostWaiting = 1000
const saveEveryMs = 1000

export interface PulseOptions {
  /** Makes the call with this text in its query; true when the store answered. */
  call: (id: string) => Promise<boolean>
  state: StateFile
  /** Files that the store's queue holds: MINIO_AUDIT_WEBHOOK_QUEUE_SIZE. */
  queueSize: number
  intervalMs: number
  /** Entries may be missing until `after`. */
  onGap: (after: string, reason: string) => void
  now?: () => number
}

export function createPulse(options: PulseOptions) {
  const { call, state, queueSize, intervalMs, onGap, now = Date.now } = options
  /** Calls whose entries have not come, by their text, oldest first. */
  const waiting = new Map<string, number>()
  let { backlog } = state.current
  let savedAt = 0
  let lastBatchAt = now()
  let answeredAt = now()
  let isFirst = !state.found

  const save = () => {
    savedAt = now()
    state.change({ backlog })
  }

  return {
    /** A batch has been worked off. */
    batch(): void {
      backlog += 1
      lastBatchAt = now()
      // In normal times there are some sixty a minute; a long backlog must not be forgotten by a restart.
      if (backlog > 100 && now() - savedAt >= saveEveryMs) save()
    },
    /** @returns whether the entry is of our own call */
    seen({ api, query, time }: AuditEntry): boolean {
      const id = api === 'HeadBucket' ? query[pulseName] : undefined
      const sentAt = id === undefined ? undefined : waiting.get(id)
      if (id === undefined || sentAt === undefined) return false
      waiting.delete(id)
      const after = afterOf(time)
      const missing = [...waiting].filter(([, at]) => at < sentAt - graceIntervals * intervalMs)
      for (const [lost] of missing) waiting.delete(lost)
      if (missing.length > 0) onGap(after, 'the audit log has a gap')
      // One that has waited in the store's queue says nothing about what comes behind it.
      if (now() - sentAt > graceIntervals * intervalMs) return true
      if (backlog >= fullShare * queueSize)
        onGap(after, "the store's queue of the audit log was full")
      if (isFirst) onGap(after, 'the first entries of the audit log')
      isFirst = false
      backlog = 0
      save()
      return true
    },
    /** Why nothing can be said about forged writes now; undefined when all is well. */
    get silence(): string | undefined {
      const isLate = (at: number) => now() - at >= silentIntervals * intervalMs
      const [oldest = now()] = waiting.values()
      if (isLate(oldest) && isLate(lastBatchAt))
        return `the store's audit log has not reached us since ${new Date(lastBatchAt).toISOString()}: MINIO_AUDIT_WEBHOOK_ENDPOINT_AVSCAN must be this service, and its token ours`
      // A store that is away sends nothing either.
      if (isLate(answeredAt) && !isLate(lastBatchAt))
        return `the store sends its audit log and has not answered our own calls since ${new Date(answeredAt).toISOString()}: MINIO_SERVER_URL and TLS_CA must be the store's`
      return undefined
    },
    get facts() {
      return { backlog, lastBatchAt: new Date(lastBatchAt).toISOString() }
    },
    async run(signal: AbortSignal): Promise<void> {
      while (!signal.aborted) {
        const id = randomUUID()
        waiting.set(id, now())
        if (await call(id)) answeredAt = now()
        else waiting.delete(id)
        const [oldest] = waiting.keys()
        if (waiting.size > mostWaiting && oldest !== undefined) waiting.delete(oldest)
        await sleep(intervalMs, undefined, { signal }).catch(() => {})
      }
    },
  }
}

export type Pulse = ReturnType<typeof createPulse>
