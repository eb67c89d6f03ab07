// Waiting without sleeping: polls until a check passes or its deadline is over, and then fails with the check's own error.
import { setTimeout as pause } from 'node:timers/promises'

export interface EventuallyOptions {
  timeoutMs?: number
  everyMs?: number
}

/** Resolves with what `check` returns as soon as it neither throws nor returns false. */
export async function eventually<T>(
  check: () => T | Promise<T>,
  options: EventuallyOptions = {},
): Promise<T> {
  const { timeoutMs = 10_000, everyMs = 25 } = options
  const deadline = performance.now() + timeoutMs
  for (;;) {
    try {
      const value = await check()
      if (value !== false) return value
      throw new Error(`not so within ${timeoutMs} ms: ${check.toString()}`)
    } catch (error) {
      if (performance.now() >= deadline) throw error
    }
    await pause(everyMs)
  }
}
