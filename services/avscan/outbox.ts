// What a worker tells others: verdicts, action jobs, further scan jobs, and what became of an object. All confirmed, with ids that
// the same facts repeat.
import type { Marks } from './marks.ts'
import type { Publisher } from '../shared/broker.ts'
import type { EndpointConfig } from '../shared/config-schema.ts'
import {
  messageId,
  type ActionJob,
  type ActionType,
  type ObjectDetails,
  type ObjectMessage,
  type ObjectRef,
  type Outcome,
  type ScanJob,
  type VerdictMessage,
} from '../shared/messages.ts'
import { names, notifyQueue } from '../shared/topology.ts'
import { identityOf } from '../shared/proof.ts'
import type { Marked } from '../shared/proven.ts'
import { wants } from '../shared/wants.ts'

export interface Outbox {
  publisher: Publisher
  scanQueue: string
  actionsQueue: string
  endpoints: readonly EndpointConfig[]
}

export interface Report {
  outcome: Outcome
  threats?: readonly string[]
  reasons?: readonly number[]
  detail?: string | undefined
  /** Of a re-scan whose verdict differs: the value of the verdict tag before. */
  previous?: string | undefined
  scan?: VerdictMessage['data']['scan']
  action?: ActionType
  attempt: number
  trigger: ScanJob['trigger']
}

const statuses: Record<Outcome, VerdictMessage['data']['scanStatus']> = {
  CLEAN: 'COMPLETED',
  INFECTED: 'COMPLETED',
  SUSPICIOUS: 'COMPLETED',
  UNSCANNABLE: 'COMPLETED',
  SKIPPED: 'SKIPPED',
  FAILED: 'FAILED',
}

/** Publishes `verdict.<outcome>.<bucket>`; returns the verdict's id. */
export async function publishVerdict(
  outbox: Outbox,
  marked: Marked,
  report: Report,
): Promise<string> {
  const { outcome, trigger } = report
  const generation = trigger.kind === 'rescan' ? trigger.id : undefined
  const id = idOf(marked, outcome, generation)
  const message: VerdictMessage = {
    type: `object.scan.${outcome.toLowerCase()}`,
    timestamp: new Date().toISOString(),
    data: {
      schemaVersion: '1.0',
      scanStatus: statuses[outcome],
      resourceType: 'S3_OBJECT',
      s3ObjectDetails: detailsOf(marked),
      scanResultDetails: {
        scanResultStatus: outcome,
        ...(report.previous === undefined ? {} : { previous: report.previous }),
        threats: (report.threats ?? []).slice(0, 20).map((name) => ({ name: name.slice(0, 500) })),
        statusReasons: [...(report.reasons ?? [])],
        detail: report.detail?.slice(0, 2000),
      },
      ...(report.scan === undefined ? {} : { scan: report.scan }),
      action: { type: report.action ?? 'none' },
      attempt: report.attempt,
      trigger: trigger.kind,
    },
  }
  await outbox.publisher.publish({
    exchange: names.verdicts,
    alsoTo: wanting(outbox, message),
    routingKey: `verdict.${outcome.toLowerCase()}.${marked.bucket}`,
    body: Buffer.from(JSON.stringify(message)),
    messageId: id,
    type: message.type,
  })
  return id
}

/** Puts the deletion of exactly this version on the actions lane. */
export async function requestDelete(
  { outbox, marks }: { outbox: Outbox; marks: Marks },
  marked: Marked,
  verdictId: string,
  signature: string,
): Promise<void> {
  const { versionId, etag, lastModified } = marked.facts
  const job = marks.seal({
    action: 'delete',
    object: {
      bucket: marked.bucket,
      key: marked.key,
      versionId,
      etag,
      lastModified: lastModified.toISOString(),
    },
    verdictId,
    signature,
  })
  await outbox.publisher.publish({
    exchange: names.jobs,
    routingKey: outbox.actionsQueue,
    body: Buffer.from(JSON.stringify(job)),
    messageId: idOf(marked, 'delete', undefined),
    type: 'action.delete',
  })
}

/** Puts a scan of the current object on the live lane. */
export async function requestScan(outbox: Outbox, object: ObjectRef): Promise<void> {
  await outbox.publisher.publish({
    exchange: names.jobs,
    routingKey: outbox.scanQueue,
    body: Buffer.from(
      JSON.stringify({ objects: [object], trigger: { kind: 'manual', id: 'changed' } }),
    ),
    type: 'scan',
  })
}

/** Publishes `object.<done>.<bucket>`. */
export async function publishDone(
  outbox: Outbox,
  job: ActionJob,
  done: 'deleted' | 'action-failed',
  detail?: string,
): Promise<void> {
  const { bucket, key, versionId, etag, lastModified } = job.object
  const message: ObjectMessage = {
    type: `object.${done}`,
    timestamp: new Date().toISOString(),
    data: {
      schemaVersion: '1.0',
      s3ObjectDetails: { bucketName: bucket, objectKey: key, versionId, eTag: etag, lastModified },
      action: {
        type: job.action,
        verdictId: job.verdictId,
        ...(detail === undefined ? {} : { detail: detail.slice(0, 2000) }),
      },
    },
  }
  await outbox.publisher.publish({
    exchange: names.verdicts,
    alsoTo: wanting(outbox, message),
    routingKey: `object.${done}.${bucket}`,
    body: Buffer.from(JSON.stringify(message)),
    messageId: idOf(
      { bucket, key, facts: { versionId, etag, lastModified: new Date(lastModified) } },
      done,
      undefined,
    ),
    type: message.type,
  })
}

/** The queues of the endpoints that want to hear of it. */
function wanting({ endpoints }: Outbox, message: VerdictMessage | ObjectMessage): string[] {
  return endpoints
    .filter((endpoint) => wants(endpoint, message))
    .map(({ name }) => notifyQueue(name))
}

function detailsOf({ bucket, key, facts }: Marked): ObjectDetails {
  const { versionId, etag, size, lastModified } = facts
  return {
    bucketName: bucket,
    objectKey: key,
    versionId,
    eTag: etag,
    size,
    lastModified: lastModified.toISOString(),
  }
}

/** The object of a message, as far as its id needs it. */
interface Identified {
  bucket: string
  key: string
  facts: Pick<Marked['facts'], 'versionId' | 'etag' | 'lastModified'>
}

function idOf(
  { bucket, key, facts }: Identified,
  what: string,
  generation: string | undefined,
): string {
  const { versionId, etag, lastModified } = facts
  const identity = identityOf({ bucket, key, versionId, etag, lastModified })
  return messageId(...identity.map((part) => part?.toString()), what, generation)
}
