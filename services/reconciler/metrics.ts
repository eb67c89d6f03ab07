// The reconciler's metrics. Labels are outcomes and reasons, never a key.
import { Counter, type Registry } from '@prometheus-io/client'

export type SpoolOutcome = 'proven' | 'gone' | 'folder' | 'foreign' | 'verify'

export type Metrics = ReturnType<typeof createMetrics>

export function createMetrics(registry: Registry) {
  const registers = [registry]
  const spool = new Counter({
    name: 'avscan_spool_checked_total',
    help: 'copies of events that became old enough, by what was found: proven, gone, folder, foreign (no bucket of ours), verify (no proven verdict: a verify job was queued)',
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of ['proven', 'gone', 'folder', 'foreign', 'verify'] satisfies SpoolOutcome[])
    spool.inc({ outcome }, 0)
  return { registry, spool }
}
