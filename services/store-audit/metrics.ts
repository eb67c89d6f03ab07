// The audit receiver's metrics. Labels are outcomes, never a key.
import { Counter, Gauge, type Registry } from '@prometheus-io/client'

export type Metrics = ReturnType<typeof createMetrics>

const outcomes = ['nothing', 'unpacked', 'begun', 'verify', 'sweep', 'own', 'unreadable'] as const

export function createMetrics(registry: Registry) {
  const registers = [registry]
  const entries = new Counter({
    name: 'avscan_audit_entries_total',
    help: "entries of the store's audit log, by what follows: nothing (no write, or its event tells all), unpacked (an archive whose objects have events), begun (a multipart upload with a forged identity), verify (a forged identity, or no event: that object is judged again), sweep (the same of objects that are not named), own (our call that shows that the log works), unreadable",
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of outcomes) entries.inc({ outcome }, 0)
  return {
    entries,
    lastBatch: new Gauge({
      name: 'avscan_audit_last_batch_timestamp_seconds',
      help: 'when the last batch of the audit log was worked off',
      registers,
    }),
  }
}
