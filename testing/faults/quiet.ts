// Waits until nothing is left to do: every object has its webhooks, no queue holds anything, nobody works, every part is well.
import { setTimeout as pause } from 'node:timers/promises'
import { describeError } from '../../services/shared/errors.ts'
import { names } from '../../services/shared/topology.ts'
import type { BrokerControl } from './broker.ts'
import type { Check } from './check.ts'
import type { Parts } from './parts.ts'
import type { Upload } from './types.ts'

/** Why it is not quiet; undefined when it is. */
export async function whatIsOpen(
  broker: BrokerControl,
  parts: Parts,
  check: Check,
  uploads: readonly Upload[],
): Promise<string | undefined> {
  const missing = check.missing(uploads)
  if (missing !== undefined) return missing
  try {
    for (const [queue, count] of await broker.ready())
      if (count > 0 && queue !== names.dead) return `${count} messages in ${queue}`
    const troubles = await parts.troubles()
    if (troubles.length > 0) return troubles.join('; ')
    for (const name of parts.workers()) {
      const running = await parts.metric(name, 'avscan_lane_running')
      if (running > 0) return `${name} has ${running} messages in work`
    }
    if (parts.has('reconciler')) {
      const { sweep } = (await parts.facts('reconciler')) ?? {}
      if ((sweep as { running?: boolean } | undefined)?.running === true) return 'a sweep runs'
    }
  } catch (error) {
    return describeError(error)
  }
  return undefined
}

/** Seconds until it was quiet, and what was still open when the time was over. */
export async function awaitQuiet(
  open: () => Promise<string | undefined>,
  timeoutMs: number,
): Promise<{ seconds: number; open: string | undefined }> {
  const begun = performance.now()
  let quietSince: number | undefined
  for (;;) {
    const now = performance.now()
    const reason = await open()
    if (reason !== undefined) quietSince = undefined
    // Twice in a row: a message may be on its way from one queue to the next.
    else if (quietSince !== undefined)
      return { seconds: (quietSince - begun) / 1000, open: undefined }
    else quietSince = now
    if (now - begun > timeoutMs) return { seconds: (now - begun) / 1000, open: reason }
    await pause(quietSince === undefined ? 200 : 500)
  }
}

/** Until the management API, which lags, agrees that nothing is held by anybody. */
export async function awaitEmpty(
  broker: BrokerControl,
  timeoutMs: number,
): Promise<string | undefined> {
  const found = await awaitQuiet(async () => {
    try {
      for (const [queue, count] of await broker.all())
        if (count > 0 && queue !== names.dead) return `${count} messages in ${queue} or in work`
    } catch (error) {
      return describeError(error)
    }
    return undefined
  }, timeoutMs)
  return found.open
}
