// The worker's metrics; the README has the table. Never a key as a label.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from '@prometheus-io/client'

export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    objects: new Counter({
      name: 'avscan_objects_total',
      help: 'Objects that got a verdict',
      labelNames: ['verdict'],
      registers,
    }),
    unscannable: new Counter({
      name: 'avscan_unscannable_total',
      help: 'Unscannable objects by reason code and, where it is one, container format',
      labelNames: ['reason', 'format'],
      registers,
    }),
    dropped: new Counter({
      name: 'avscan_jobs_dropped_total',
      help: 'Jobs that needed no scan',
      labelNames: ['why'],
      registers,
    }),
    failures: new Counter({
      name: 'avscan_attempts_failed_total',
      help: 'Attempts that ended in an error',
      labelNames: ['error'],
      registers,
    }),
    bytes: new Counter({
      name: 'avscan_scanned_bytes_total',
      help: 'Bytes that were scanned',
      registers,
    }),
    duration: new Histogram({
      name: 'avscan_scan_duration_seconds',
      help: 'From the start of the download to the finding',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
      registers,
    }),
    age: new Histogram({
      name: 'avscan_time_to_verdict_seconds',
      help: "From the object's Last-Modified (whole seconds) to its verdict",
      buckets: [0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 86400],
      registers,
    }),
    actions: new Counter({
      name: 'avscan_actions_total',
      help: 'Actions on infected objects',
      labelNames: ['action', 'outcome'],
      registers,
    }),
    paused: new Gauge({
      name: 'avscan_lane_paused',
      help: '1 while a lane waits for an outage to end',
      labelNames: ['lane'],
      registers,
    }),
    running: new Gauge({
      name: 'avscan_lane_running',
      help: 'Messages in work',
      labelNames: ['lane'],
      registers,
    }),
    budget: new Gauge({
      name: 'avscan_scan_folder_reserved_bytes',
      help: 'Reserved for running downloads',
      registers,
    }),
    breaker: new Gauge({
      name: 'avscan_engine_breaker_state',
      help: '0: the address is used; 1: tried again, one scan at a time; 2: left alone',
      labelNames: ['engine', 'address'],
      registers,
    }),
    engineFailures: new Counter({
      name: 'avscan_engine_failures_total',
      help: 'Scans and canaries that failed for reasons of the engine',
      labelNames: ['engine'],
      registers,
    }),
    canary: new Gauge({
      name: 'avscan_engine_canary_up',
      help: '1 while the last canary of at least one address came back right',
      labelNames: ['engine'],
      registers,
    }),
    signatures: new Gauge({
      name: 'avscan_signatures_info',
      help: '1; the labels say which engine and signatures judge',
      labelNames: [
        'engine',
        'engine_version',
        'signature_version',
        'signature_date',
        'signature_set',
      ],
      registers,
    }),
  }
}

export type Metrics = ReturnType<typeof createMetrics>
