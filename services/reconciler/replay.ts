// `replay`: sends dead letters back to the queues in which they died, as if they had never been tried.
// One at a time (confirmed, then acked, then the next): killed at any moment, at worst one message is there twice.
import { parseArgs } from 'node:util'
import { connectPublisher, type Publication, type Publisher } from '../shared/broker.ts'
import type { Config } from '../shared/config-schema.ts'
import { fromStoreHeader, replayedHeader } from '../shared/consumer.ts'
import { describeError, toError, UnroutableError } from '../shared/errors.ts'
import { silentLog } from '../shared/log.ts'
import { renderTable } from '../shared/table.ts'
import { names } from '../shared/topology.ts'
import { openDeadQueue, type DeadQueue } from './dead-queue.ts'
import { createFilter, filterOptions, parseLimit } from './letter-filter.ts'
import { readLetter, type Letter } from './letter.ts'
import { printable } from '../shared/printable.ts'
import { inThousands, type Terminal } from './terminal.ts'

// Small, so that what one replay has not got to yet is left for another one.
const window = 200
const connectTimeoutMs = 30_000

export interface Replayed {
  /** Messages by the queue that has them now. */
  sent: Map<string, number>
  /** Messages by why they stay. */
  kept: Map<string, number>
  /** Why it ended before the last message. */
  failure?: unknown
}

/** @returns the exit code: 1 when something that was asked for stays. @throws FatalError */
export async function replay(
  config: Config,
  args: string[],
  { out, say, progress, signal }: Terminal,
): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      ...filterOptions,
      limit: { type: 'string' },
      'dry-run': { type: 'boolean', default: false },
    },
  })
  const limit = values.limit === undefined ? Infinity : parseLimit(values.limit)
  const fits = createFilter(values)
  const begun = performance.now()
  const queue = await openDeadQueue(config, Math.min(limit, window))
  const done: Replayed = { sent: new Map(), kept: new Map() }
  let publisher: Publisher | undefined
  try {
    if (!values['dry-run'])
      publisher = await connectPublisher(config, silentLog, AbortSignal.timeout(connectTimeoutMs))
    const send = createSender(queue, publisher)
    let asked = 0
    for await (const message of queue.read()) {
      const letter = readLetter(message, config.broker.exchange)
      if (fits(letter)) {
        const { origin, why } = await send(letter)
        if (why === undefined && publisher !== undefined) await queue.ack(message)
        if (why === undefined) add(done.sent, origin)
        else add(done.kept, why)
        if (++asked >= limit) break
      }
      if (signal?.aborted) throw toError(signal.reason)
      progress(`${inThousands(total(done.sent))} sent back …`)
    }
  } catch (error) {
    done.failure = error
  }
  await publisher?.close()
  await queue.close()
  if (queue.count === 0 && done.failure === undefined) say('nothing is dead')
  else out(renderReplayed(done, values['dry-run'], performance.now() - begun))
  if (queue.others > 0)
    say('Another dead or replay has messages in hand; those were left to it. Run it again.')
  return done.failure === undefined && done.kept.size === 0 ? 0 : 1
}

type Sender = (letter: Letter) => Promise<{ origin: string; why?: string }>

/** Without a publisher it only says what would be. The sender tells why a message has to stay. */
function createSender(queue: DeadQueue, publisher: Publisher | undefined): Sender {
  const known = new Map<string, boolean>()
  return async (letter) => {
    const { origin = '' } = letter
    if (origin === '') return { origin, why: 'nothing says where they come from' }
    // A person, or a broker's policy, may have moved messages in here from here.
    if (origin === names.dead) return { origin, why: `they come from ${names.dead} itself` }
    const gone = { origin, why: `there is no queue ${printable(origin)} any more` }
    if (known.get(origin) === false) return gone
    try {
      if (publisher !== undefined) await publisher.publish(publicationOf(letter, origin))
      else if (!known.has(origin)) known.set(origin, await queue.exists(origin))
    } catch (error) {
      if (!(error instanceof UnroutableError)) throw error
      known.set(origin, false)
    }
    return known.get(origin) === false ? gone : { origin }
  }
}

/** Id, type and foreign headers as they were; attempts, outages and the death are forgotten, but not that it was worked on. */
export function publicationOf(letter: Letter, origin: string): Publication {
  const { body, messageId, type, headers, fromStore } = letter
  return {
    exchange: names.jobs,
    routingKey: origin,
    body,
    messageId,
    type,
    headers: {
      ...Object.fromEntries(
        Object.entries(headers).filter(([name]) => !/^(avscan|x)-/i.test(name)),
      ),
      // It may have died between its tag and its verdict: then the proof alone must not end it.
      [replayedHeader]: 1,
      // What only the store may say stays what the store said.
      ...(fromStore ? { [fromStoreHeader]: 1 } : {}),
    },
  }
}

export function renderReplayed(
  { sent, kept, failure }: Replayed,
  dry: boolean,
  ms: number,
): string {
  const rows = [...sent].map(([queue, count]) => [printable(queue), inThousands(count)])
  const lines = rows.length === 0 ? [] : renderTable([dry ? 'would go to' : 'sent to', ''], rows)
  for (const [why, count] of kept) lines.push(`${inThousands(count)} stay, for ${why}`)
  const many = total(sent)
  if (dry) lines.push(`${inThousands(many)} would be sent back`)
  else
    lines.push(
      `${inThousands(many)} sent back in ${(ms / 1000).toFixed(1)} s` +
        (many > 100 ? `, ${inThousands(Math.round((many * 1000) / ms))}/s` : ''),
    )
  if (failure !== undefined)
    lines.push(
      `ended early: ${printable(describeError(failure))}`,
      'Nothing is lost: the others are still dead. Run it again.',
    )
  return `${lines.join('\n')}\n`
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}

function total(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0)
}
