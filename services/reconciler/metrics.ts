// The reconciler's metrics. Labels are outcomes and reasons, never a key.
import { Counter, Gauge, type Registry } from '@prometheus-io/client'
import type { Why } from './selection.ts'

export type SpoolOutcome = 'proven' | 'gone' | 'folder' | 'foreign' | 'verify'

export type Metrics = ReturnType<typeof createMetrics>

const outcomes: readonly SpoolOutcome[] = ['proven', 'gone', 'folder', 'foreign', 'verify']
const whys: readonly Why[] = ['unproven', 'unfinished', 'undeleted', 'signatures', 'unreadable']

export function createMetrics(registry: Registry) {
  const registers = [registry]
  const spool = new Counter({
    name: 'avscan_spool_checked_total',
    help: 'copies of events that became old enough, by what was found: proven, gone, folder, foreign (no bucket of ours), verify (no proven verdict: a verify job was queued)',
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of outcomes) spool.inc({ outcome }, 0)
  const jobs = new Counter({
    name: 'avscan_sweep_jobs_total',
    help: 'jobs that sweeps have queued, by why: unproven, unfinished (passed on unscanned, or given up), undeleted (infected and still there), signatures (judged under others), unreadable (the store answers oddly for it)',
    labelNames: ['why'],
    registers,
  })
  for (const why of whys) jobs.inc({ why }, 0)
  return {
    registry,
    spool,
    jobs,
    seen: new Counter({
      name: 'avscan_sweep_objects_seen_total',
      help: 'versions that sweeps have looked at',
      registers,
    }),
    running: new Gauge({
      name: 'avscan_sweep_running',
      help: '1 while a sweep or a re-scan is under way',
      registers,
    }),
    lastSuccess: new Gauge({
      name: 'avscan_sweep_last_success_timestamp_seconds',
      help: 'when the last sweep of everything was finished',
      registers,
    }),
    gaps: new Counter({
      name: 'avscan_event_gaps_total',
      help: 'times when events may have been lost: broker or store went away, or the end-to-end canary failed',
      registers,
    }),
    canaryUp: new Gauge({
      name: 'avscan_canary_up',
      help: '1 while the last end-to-end canary (bucket, event, verdict) came back clean, 0 while one is late or failing',
      registers,
    }),
    canarySeconds: new Gauge({
      name: 'avscan_canary_seconds',
      help: 'how long the last one that came back took from upload to proven verdict',
      registers,
    }),
  }
}
