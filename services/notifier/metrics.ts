// The notifier's metrics. Labels are endpoint names and outcomes, never a key.
import { Counter, Gauge, Histogram, type Registry } from '@prometheus-io/client'

export type DeliveryOutcome = 'delivered' | 'dropped' | 'failed' | 'gone'

export interface EndpointMetrics {
  delivery(outcome: DeliveryOutcome): void
  duration(seconds: number): void
  paused(paused: boolean): void
  dead(): void
}

/** Registers them once; the returned function gives one endpoint's, all at zero from the start. */
export function createMetrics(registry: Registry): (endpoint: string) => EndpointMetrics {
  const registers = [registry]
  const deliveries = new Counter({
    name: 'avscan_notifier_deliveries_total',
    help: 'messages by what became of them: delivered, dropped (not wanted), failed (will be tried again), gone (410)',
    labelNames: ['endpoint', 'outcome'],
    registers,
  })
  const durations = new Histogram({
    name: 'avscan_notifier_delivery_seconds',
    help: 'how long receivers take to answer, unanswered attempts included',
    labelNames: ['endpoint'],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20],
    registers,
  })
  const paused = new Gauge({
    name: 'avscan_notifier_endpoint_paused',
    help: '1 while the last answer of the receiver was 410 Gone',
    labelNames: ['endpoint'],
    registers,
  })
  const dead = new Counter({
    name: 'avscan_notifier_dead_total',
    help: 'messages sent to avscan.dead: undecodable, or refused at the last attempt',
    labelNames: ['endpoint'],
    registers,
  })
  return (endpoint) => {
    for (const outcome of ['delivered', 'dropped', 'failed', 'gone'] as const)
      deliveries.inc({ endpoint, outcome }, 0)
    paused.set({ endpoint }, 0)
    dead.inc({ endpoint }, 0)
    return {
      delivery: (outcome) => deliveries.inc({ endpoint, outcome }),
      duration: (seconds) => durations.observe({ endpoint }, seconds),
      paused: (on) => paused.set({ endpoint }, on ? 1 : 0),
      dead: () => dead.inc({ endpoint }),
    }
  }
}
