// Waiting for something that is not there yet, without noise: one line when it begins, one when it ends.
import { setTimeout as sleep } from 'node:timers/promises'
import { FatalError, toError } from './errors.ts'
import type { Log } from './log.ts'

/** Milliseconds before try `attempt` (2, 3, …): doubles from 250, never above 5000. */
export function backoffMs(attempt: number): number {
  return Math.min(250 * 2 ** Math.max(0, attempt - 2), 5000)
}

/** Calls `probe` until it succeeds; `waiting` hears the reason each time. @throws FatalError and the signal's reason. */
export async function waitUntilReady<T>(
  what: string,
  probe: () => Promise<T>,
  options: { log: Log; signal: AbortSignal; waiting?: (reason: Error) => void },
): Promise<T> {
  const since = Date.now()
  for (let attempt = 1; ; attempt++) {
    try {
      const result = await probe()
      if (attempt > 1) options.log.info(`${what} is there`, { waitedMs: Date.now() - since })
      return result
    } catch (thrown) {
      options.signal.throwIfAborted()
      const error = toError(thrown)
      if (error instanceof FatalError) throw error
      if (attempt === 1) options.log.warn(`waiting for ${what}`, { error })
      options.waiting?.(error)
      await sleep(backoffMs(attempt + 1), undefined, { signal: options.signal })
    }
  }
}
