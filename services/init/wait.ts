// Waits for a server that is still starting: tries again until it answers, a deadline passes, or only a person can help.
import { setTimeout as sleep } from 'node:timers/promises'
import { describeError, errorCode, FatalError, toError } from '../shared/errors.ts'
import { tlsProblem } from '../shared/trust.ts'

export interface WaitOptions {
  /** `broker mq-service:15671`, for the error. */
  what: string
  timeoutMs: number
  now?: () => number
  pause?: (ms: number) => Promise<unknown>
  /** Told once, at the first failure. */
  waiting?: (reason: string) => void
}

const hints: Record<string, string> = {
  ENOTFOUND: 'no such host; is the name right, and is that service started?',
  EAI_AGAIN: 'the name cannot be resolved; is the name right, and is that service started?',
  ECONNREFUSED: 'nothing listens there; is the port right, and is that service started?',
}

/** INIT_TIMEOUT in seconds, default 120. @throws FatalError for what is no positive number. */
export function initTimeoutMs(env: Readonly<Record<string, string | undefined>>): number {
  const text = env['INIT_TIMEOUT'] ?? ''
  const seconds = text === '' ? 120 : Number(text)
  if (!(seconds > 0))
    throw new FatalError(
      `INIT_TIMEOUT: expected seconds, got "${text}"`,
      'for example INIT_TIMEOUT=120',
    )
  return seconds * 1000
}

/** What `attempt` returns as soon as it succeeds. FatalError and TLS problems end the wait at once. */
export async function waitFor<T>(attempt: () => Promise<T>, options: WaitOptions): Promise<T> {
  const { what, timeoutMs, now = Date.now, pause = sleep, waiting } = options
  const deadline = now() + timeoutMs
  for (let round = 0; ; round++) {
    try {
      return await attempt()
    } catch (thrown) {
      const error = toError(thrown)
      if (error instanceof FatalError) throw error
      const tls = tlsProblem(error)
      if (tls !== undefined)
        throw new FatalError(`${what}: ${tls}`, 'TLS is never switched off', { cause: error })
      if (now() >= deadline)
        throw new FatalError(
          `${what} did not answer within ${Math.round(timeoutMs / 1000)} s: ${describeError(error)}`,
          hints[errorCode(error) ?? ''] ?? 'look at its log; INIT_TIMEOUT sets how long init waits',
          { cause: error },
        )
      if (round === 0) waiting?.(describeError(error))
    }
    await pause(Math.min(250 * 2 ** Math.min(round, 3), 2000))
  }
}
