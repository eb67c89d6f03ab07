// Ten thousand messages that nobody means to send, between those of a normal stream.
import { createHash } from 'node:crypto'
import { decodeJobs } from '../../../services/shared/messages.ts'
import { names } from '../../../services/shared/topology.ts'
import { runCli } from '../../support/deployment.ts'
import { eventually } from '../../support/eventually.ts'
import { createRandom, randomSeed } from '../mix.ts'
import { mutated, realMessages } from '../support/mutate.ts'
import { workersUnharmed } from '../support/unharmed.ts'
import type { FaultContext, Row } from '../types.ts'

const many = ({ short }: FaultContext) => (short ? 1000 : 10_000)
const batches = 20

const digest = (body: Buffer | string) => createHash('sha256').update(body).digest('hex')

/** Those that can never be a job: each is in avscan.dead once. */
function isUndecodable(body: Buffer): boolean {
  try {
    decodeJobs(body)
    return false
  } catch {
    return true
  }
}

function countEach(bodies: readonly (Buffer | string)[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const body of bodies) counts.set(digest(body), (counts.get(digest(body)) ?? 0) + 1)
  return counts
}

/** Nothing is left to do but what is dead. */
async function settled({ broker, parts }: FaultContext): Promise<void> {
  let calm = 0
  await eventually(
    async () => {
      const before = calm
      calm = 0
      for (const [queue, count] of await broker.ready())
        if (count > 0 && queue !== names.dead) throw new Error(`${count} messages in ${queue}`)
      for (const name of parts.workers())
        if ((await parts.metric(name, 'avscan_lane_running')) > 0) throw new Error(`${name} works`)
      calm = before + 1
      return calm >= 3
    },
    { timeoutMs: 240_000, everyMs: 500 },
  )
}

/** Every undecodable one is dead exactly once; takes all of them out. */
async function checkDead({ broker }: FaultContext, undecodable: ReadonlyMap<string, number>) {
  const dead = await broker.takeDead()
  const found = countEach(dead.map(({ bytes }) => bytes))
  let wrong = 0
  for (const [body, count] of undecodable) if (found.get(body) !== count) wrong++
  if (wrong > 0)
    throw new Error(
      `${wrong} of ${undecodable.size} undecodable messages are not dead exactly once`,
    )
  return dead
}

export const badMessages: readonly Row[] = [
  {
    name: 'bad-messages',
    title: '10,000 mutated and random messages in the work queue',
    async inject(context) {
      const { broker, deployment, parts, say, traffic, uploader } = context
      const { queue } = broker.config.broker
      const seed = randomSeed()
      say(`seed of the messages: ${seed}`)
      const random = createRandom(seed)
      const unharmed = workersUnharmed(parts)
      await traffic.until(0.2)
      const bodies: Buffer[] = []
      for (let batch = 0; batch < batches; batch++) {
        await traffic.until(Math.min(1, 0.2 + batch / batches))
        const messages = traffic.uploads
          .slice(-20)
          .flatMap((upload) => realMessages({ bucket: uploader.bucket, ...upload }))
        const next = Array.from({ length: many(context) / batches }, () =>
          mutated(messages, random),
        )
        bodies.push(...next)
        await broker.publish(names.jobs, queue, next)
      }
      await traffic.done()
      await settled(context)
      const undecodable = countEach(bodies.filter(isUndecodable))
      const dead = await checkDead(context, undecodable)
      say(`${bodies.length} sent, ${undecodable.size} different undecodable, ${dead.length} dead`)
      // Back to where they came from: they die again, once.
      const again = dead.filter(({ bytes }) => isUndecodable(bytes)).slice(0, 200)
      await broker.publish(
        names.jobs,
        queue,
        again.map(({ bytes }) => bytes),
      )
      await settled(context)
      await runCli(['replay'], deployment.env)
      await settled(context)
      await checkDead(context, countEach(again.map(({ bytes }) => bytes)))
      unharmed()
    },
    // A mutated re-scan job is one of another generation.
    expectations: { newIds: true, quietMs: 240_000 },
  },
]
