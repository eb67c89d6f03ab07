// The rules by which a bucket's events reach the broker: one for each target of the store's, merged with the rules that are there.
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { XMLBuilder, XMLParser } from 'fast-xml-parser'
import type { Client } from 'minio'
import type { Config } from '../shared/config-schema.ts'
import { describeError, FatalError } from '../shared/errors.ts'
import { asWanted, type Report } from './report.ts'

/** FAST goes to the work queue at once; SPOOL keeps each event on disk until the broker has it, and goes to the spool lane. */
export const targets = ['FAST', 'SPOOL'] as const
export type Target = (typeof targets)[number]

// By name and not s3:ObjectCreated:*, in which tagging is too: workers would feed themselves.
export const createdEvents = ['Put', 'Post', 'Copy', 'CompleteMultipartUpload'].map(
  (kind) => `s3:ObjectCreated:${kind}`,
)

export function queueArn(region: string, target: Target): string {
  return `arn:minio:sqs:${region}:${target}:amqp`
}

interface QueueRule {
  Id?: string
  Queue: string
  Event: string[]
  Filter?: unknown
}
interface Notification {
  QueueConfiguration?: QueueRule[]
}

const repeated = new Set([
  'QueueConfiguration',
  'Event',
  'TopicConfiguration',
  'CloudFunctionConfiguration',
])
const parser = new XMLParser({ parseTagValue: false, isArray: (name) => repeated.has(name) })
const builder = new XMLBuilder({})
const query = 'notification'

/** @throws FatalError when a rule for one of our targets says something else, or the store has no such target. */
export async function ensureEvents(
  client: Client,
  bucket: string,
  config: Config,
  report: Report,
): Promise<void> {
  const present = await readRules(client, bucket)
  const { QueueConfiguration: rules = [], ...others } = present
  const wanted = targets.map((target) => ({ target, arn: queueArn(config.store.region, target) }))
  const missing = wanted.filter(({ arn }) => !isThere(rules, bucket, arn))
  if (missing.length > 0)
    await writeRules(client, bucket, {
      ...others,
      QueueConfiguration: [
        ...rules,
        ...missing.map(({ arn }) => ({ Queue: arn, Event: createdEvents })),
      ],
    })
  for (const one of wanted)
    report.say(
      `notification rule of ${bucket} for ${one.target}`,
      missing.includes(one) ? 'created' : asWanted,
    )
}

async function readRules(client: Client, bucket: string): Promise<Notification> {
  const answer = await client.makeRequestAsync(
    { method: 'GET', bucketName: bucket, query },
    '',
    [200],
  )
  const { NotificationConfiguration } = parser.parse(await text(answer)) as {
    NotificationConfiguration?: Notification | ''
  }
  return typeof NotificationConfiguration === 'object' ? NotificationConfiguration : {}
}

/** Whether there is the rule that we want for that target. @throws FatalError when there is another one. */
function isThere(rules: readonly QueueRule[], bucket: string, arn: string): boolean {
  const ours = rules.filter((rule) => rule.Queue === arn)
  const [first] = ours
  if (first === undefined) return false
  const part = ours
    .map((rule) => rule.Filter)
    .filter((filter) => filter !== undefined && filter !== '')
  if (part.length > 0)
    throw new FatalError(
      `bucket ${bucket} already has a rule for ${arn} that sees a part of it only: ${JSON.stringify(part)}; wanted: the whole bucket`,
      `remove it (mc event remove store/${bucket} ${arn}) and run init again: what it leaves out would never be scanned`,
    )
  if (ours.length === 1 && isDeepStrictEqual(first.Event.toSorted(), createdEvents.toSorted()))
    return true
  throw new FatalError(
    `bucket ${bucket} already has a rule for ${arn} with the events ${ours.flatMap((rule) => rule.Event).join(', ')}; wanted: ${createdEvents.join(', ')}`,
    `remove it (mc event remove store/${bucket} ${arn}) and run init again: more events than these make the workers feed themselves`,
  )
}

/** MinIO that has just started answers before it has made its targets. */
const targetsMs = 10_000

async function writeRules(client: Client, bucket: string, rules: Notification): Promise<void> {
  const until = performance.now() + targetsMs
  const body = builder.build({ NotificationConfiguration: rules })
  const put = async (): Promise<void> => {
    try {
      const to = { method: 'PUT', bucketName: bucket, query }
      const answer = await client.makeRequestAsync(to, body, [200])
      answer.resume()
    } catch (error) {
      if (!/destination ARN/.test(describeError(error)) || performance.now() > until) throw error
      await sleep(500)
      await put()
    }
  }
  try {
    await put()
  } catch (error) {
    throw new FatalError(
      `set the notification rules of ${bucket} for ${targets.join(' and ')}: ${describeError(error)}`,
      'the store must have been started with the AMQP targets FAST and SPOOL (MINIO_NOTIFY_AMQP_…_FAST and …_SPOOL); one bad notify entry switches all targets off',
      { cause: error },
    )
  }
}
