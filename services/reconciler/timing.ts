// How long the reconciler waits for what, from the settings.
import type { Config } from '../shared/config-schema.ts'

const second = 1000

/** How long the end-to-end canary may take while nothing waits before it. */
export function canaryTimeoutMs({ canary }: Config): number {
  return Math.min(30 * second, Math.max(5 * second, canary.intervalMs))
}

/**
 * How much before the last good moment the sweep after a gap begins. A mishap is noticed two canaries late at worst, and an event
 * may be as old as the spool lane lets it become.
 */
export function sweepMarginMs(config: Config): number {
  const period = config.canary.intervalMs + canaryTimeoutMs(config)
  return 2 * period + config.reconcile.afterMs
}

/** How often a sweep stands in for events while the canary keeps failing. */
export function sweepAnywayMs({ canary }: Config): number {
  return 10 * canary.intervalMs
}
