// `sweep`: asks the reconciler to compare the buckets with the proven verdicts, and watches until the jobs are worked off.
// The reconciler does the work: whoever stops watching stops nothing.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { connectPublisher } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import { FatalError } from '../shared/errors.ts'
import { silentLog } from '../shared/log.ts'
import type { SweepRequested } from '../shared/messages.ts'
import { names } from '../shared/topology.ts'
import { printable } from '../shared/printable.ts'
import { createRate, createWatch, type SweepFacts, type Watch } from './sweep-watch.ts'
import { inThousands, renderAge, type Terminal } from './terminal.ts'

const everyMs = 500
const connectTimeoutMs = 30_000
// A worker that was killed gives its jobs back, one that is paused takes none: empty once is not empty.
const emptyTimes = 3

/** @returns the exit code: 0 also when the watching was interrupted. @throws FatalError */
export async function sweep(config: Config, args: string[], terminal: Terminal): Promise<number> {
  const { values } = parseArgs({
    args,
    options: { 'no-wait': { type: 'boolean', default: false } },
  })
  const { out, say } = terminal
  const watch = createWatch(config)
  try {
    if (!values['no-wait'] && (await watch.facts('')) === undefined)
      throw new FatalError(
        `the reconciler does not answer at ${watch.where}`,
        'make status shows whether it runs, make start starts it; --no-wait asks for a sweep that begins when it does',
      )
    const begun = performance.now()
    const id = randomUUID()
    await request(config, id)
    if (values['no-wait']) {
      out('A sweep is asked for; make status shows how far it is.\n')
      return 0
    }
    say('A sweep is asked for. Ctrl-C stops watching, not the sweep.')
    const swept = await seeItThrough(id, watch, terminal)
    if (swept === undefined) {
      say('No longer watching; the sweep goes on, and make status shows how far it is.')
      return 0
    }
    const seconds = Math.round((performance.now() - begun) / 1000)
    out(
      `${inThousands(swept.seen)} objects seen, ${inThousands(swept.queued)} queued, all have been worked off, ${seconds} s\n`,
    )
    return 0
  } finally {
    await watch.close()
  }
}

async function request(config: Config, id: string): Promise<void> {
  const message: SweepRequested = {
    type: 'sweep.requested',
    timestamp: new Date().toISOString(),
    data: { id, reason: 'asked for' },
  }
  const publisher = await connectPublisher(config, silentLog, AbortSignal.timeout(connectTimeoutMs))
  try {
    await publisher.publish({
      exchange: names.jobs,
      routingKey: names.reconcile,
      body: Buffer.from(JSON.stringify(message)),
      messageId: id,
      type: message.type,
    })
  } finally {
    await publisher.close()
  }
}

/** The last facts of this sweep; undefined when the watching was interrupted. */
async function seeItThrough(
  id: string,
  watch: Watch,
  { progress, say, signal }: Terminal,
): Promise<SweepFacts | undefined> {
  const rate = createRate()
  let ours: SweepFacts | undefined
  let isOver = false
  let isAway = false
  let empty = 0
  for (;;) {
    if (signal?.aborted === true) return undefined
    if (!isOver) {
      const facts = await watch.facts(id)
      if ((facts === undefined) !== isAway) {
        isAway = facts === undefined
        say(isAway ? 'The reconciler does not answer …' : 'The reconciler answers again.')
      }
      ours = facts?.ours ?? ours
      isOver = ours?.finishedAt !== undefined
      if (!isAway && !isOver) progress(renderSweep(ours, facts?.other))
    }
    if (isOver) {
      const depth = await watch.depth()
      empty = depth === 0 ? empty + 1 : 0
      if (empty >= emptyTimes) return ours
      if (depth !== undefined && depth > 0) progress(renderDraining(depth, -rate(depth)))
    }
    // Rejects at once when it is interrupted.
    await sleep(everyMs, undefined, { signal }).catch(() => {})
  }
}

export function renderSweep(ours: SweepFacts | undefined, other: SweepFacts | undefined): string {
  // What events may have missed goes before what somebody asked for, and one at a time is at work.
  const isBehind = other !== undefined && (ours?.rate ?? 0) === 0
  if (isBehind && (ours?.running !== true || (other.rate ?? 0) > 0))
    return `another sweep goes first, ${inThousands(other.seen)} objects seen`
  if (ours?.running !== true) return 'waiting for the reconciler to begin'
  const { seen, queued, total = 0, rate = 0, paused } = ours
  // What the last one saw; the bucket has grown when it is fewer.
  const isKnown = total > seen
  const of = isKnown ? ` of about ${inThousands(total)}` : ''
  const speed = rate >= 0.5 ? `, ${inThousands(Math.round(rate))}/s` : ''
  const eta = isKnown && speed !== '' ? `, ${renderAge(((total - seen) / rate) * 1000)} to go` : ''
  const why = paused === undefined ? '' : `; waits: ${printable(paused)}`
  return `${inThousands(seen)}${of} objects seen, ${inThousands(queued)} queued${speed}${eta}${why}`
}

/** @param rate messages per second by which it gets shorter */
export function renderDraining(depth: number, rate: number): string {
  const speed =
    rate >= 0.5
      ? `, ${inThousands(Math.round(rate))}/s, ${renderAge((depth / rate) * 1000)} to go`
      : ''
  return `all objects seen; ${inThousands(depth)} wait to be scanned${speed}`
}
