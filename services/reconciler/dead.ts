// `dead`: what lies in avscan.dead. Looks, and takes nothing away.
import { parseArgs } from 'node:util'
import type { Config } from '../shared/config-schema.ts'
import { toError } from '../shared/errors.ts'
import { renderLetters, toJsonLine } from './dead-list.ts'
import { openDeadQueue } from './dead-queue.ts'
import { createFilter, filterOptions, isFiltered, parseLimit } from './letter-filter.ts'
import { readLetter, type Letter } from './letter.ts'
import { inThousands, type Terminal } from './terminal.ts'

// So many bodies are in memory at a time, 20 kB at most each.
const window = 2000

/** @returns the exit code: 0, also when nothing is dead. @throws FatalError | OutageError */
export async function dead(
  config: Config,
  args: string[],
  { out, say, width, signal }: Terminal,
): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      ...filterOptions,
      json: { type: 'boolean', default: false },
      long: { type: 'boolean', default: false },
      limit: { type: 'string', default: '100' },
    },
  })
  const limit = parseLimit(values.limit)
  const now = Date.now()
  const fits = createFilter(values, now)
  // Whoever filters wants to know how many fit; without a filter the queue's own count says it.
  const all = isFiltered(values)
  const queue = await openDeadQueue(config, all ? window : Math.min(limit, window))
  const letters: Letter[] = []
  let fitting = 0
  try {
    for await (const message of queue.read()) {
      if (signal?.aborted === true) throw toError(signal.reason)
      const letter = readLetter(message, config.broker.exchange)
      if (!fits(letter)) continue
      fitting++
      if (letters.length < limit) letters.push(letter)
      if (!all && letters.length === limit) break
    }
  } finally {
    await queue.close()
  }
  // The queue is nearly in this order; what replays and looks at the same time gave back may stand at its end.
  letters.sort((a, b) => (a.diedAt?.getTime() ?? 0) - (b.diedAt?.getTime() ?? 0))
  if (values.json) for (const letter of letters) out(toJsonLine(letter, now))
  else if (letters.length > 0)
    out(renderLetters(letters, { width: values.long ? Infinity : width, now }))
  say(summary(letters.length, all ? fitting : queue.count, queue.count, all))
  if (queue.others > 0)
    say('Another dead or replay has messages in hand; those are missing here. Run it again.')
  return 0
}

function summary(shown: number, fitting: number, count: number, all: boolean): string {
  if (count === 0) return 'nothing is dead'
  const what = all
    ? `${inThousands(fitting)} of ${inThousands(count)} dead letters fit`
    : `${inThousands(fitting)} dead`
  const more = fitting - shown
  return more > 0 ? `${what}; ${inThousands(more)} more than are shown (--limit)` : what
}
