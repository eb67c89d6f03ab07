// What travels over the broker: events in (one decoder for all stores' dialects), verdicts and action jobs out.
import { v5 as uuid } from 'uuid'
import { DiscardError, toError } from './errors.ts'

/** What a store calls the version of a key from before versioning, or from while it was suspended. */
export const nullVersion = 'null'

/** A key has one place only for it, so that the next upload overwrites it: no versions, or the version called null. */
export function isOverwritable(versionId: string | undefined): boolean {
  return versionId === undefined || versionId === nullVersion
}

/** One version of one key in one bucket. `versionId` is missing when unknown or unversioned. */
export interface ObjectRef {
  bucket: string
  /** As the application wrote it; empty only in VersityGW's event of a POST form, which names no key. */
  key: string
  versionId?: string | undefined
  /** Without quotes. */
  etag?: string | undefined
  /** What the event said, in bytes; never to be relied on. */
  size?: number | undefined
  sequencer?: string | undefined
  /** In a re-scan job: the value of the verdict tag that was proven before. */
  previous?: string | undefined
}

export type TriggerKind = 'event' | 'manual' | 'verify' | 'sweep' | 'rescan'

export interface ScanJob {
  object: ObjectRef
  trigger: {
    kind: TriggerKind
    id?: string | undefined
    /** Something was written then (an event's time, on the store's clock): a proof from before does not count. */
    after?: Date | undefined
    /** The store's own number of that event, which nobody can know before. */
    event?: string | undefined
  }
  /** By which key it was written, as the store's event tells. */
  uploader?: string | undefined
}

const wantedKinds = new Set(['Put', 'Post', 'Copy', 'CompleteMultipartUpload'])
const triggerKinds = new Set<string>(['manual', 'verify', 'sweep', 'rescan'])

/**
 * An event of MinIO, Silo, RustFS, Ceph RGW, AWS or VersityGW, or a job of ours
 * (`{"objects":[{bucket,key,versionId?,etag?,size?}],"trigger":{kind,id,after?}}`), as scan jobs; several records are several jobs.
 * Events of other kinds (tagging, deletion, tests) are no jobs.
 * @throws DiscardError when it is none of these.
 */
export function decodeJobs(body: Buffer): ScanJob[] {
  return wellFormed(decodeAny(body, true))
}

/**
 * The same from where only a store may speak: a job in our own words is refused there.
 * @throws DiscardError
 */
export function decodeEvents(body: Buffer): ScanJob[] {
  return wellFormed(decodeAny(body, false))
}

function wellFormed(jobs: ScanJob[]): ScanJob[] {
  for (const { object } of jobs)
    // Half a surrogate pair cannot be sent to any store: what cannot be asked for would look like an outage.
    for (const name of [object.bucket, object.key, object.versionId ?? ''])
      if (!name.isWellFormed()) throw new DiscardError(`${JSON.stringify(name)} is no Unicode text`)
  return jobs
}

function decodeAny(body: Buffer, mayBeOurs: boolean): ScanJob[] {
  const message = parseObject(body, 'the message')
  if (Array.isArray(message['Records'])) return message['Records'].flatMap(decodeRecord)
  if (Array.isArray(message['objects'])) {
    if (mayBeOurs) return decodeOwn(message['objects'], message['trigger'])
    throw new DiscardError('a job of ours (objects) came from where only the store may publish')
  }
  if (message['Event'] === 's3:TestEvent') return []
  throw new DiscardError(
    'the message is neither a bucket notification (Records) nor a job (objects)',
  )
}

function decodeRecord(record: unknown, index: number): ScanJob[] {
  const at = `Records[${index}]`
  if (!isRecord(record)) throw new DiscardError(`${at} is not an object`)
  const name = text(record['eventName'], `${at}.eventName`).replace(/^s3:/, '')
  const [family, kind] = name.split(':')
  if (family !== 'ObjectCreated' || kind === undefined || !wantedKinds.has(kind)) return []
  const s3 = part(record, 's3', at)
  const object = part(s3, 'object', `${at}.s3`)
  const { name: bucketName, arn } = part(s3, 'bucket', `${at}.s3`)
  const versity = record['eventSource'] === 'aws:s3' && s3['configurationId'] === 'rabbitmq-global'
  const place = versity ? placeInArn(arn) : undefined
  const bucket = place?.bucket ?? text(bucketName, `${at}.s3.bucket.name`)
  const raw = place?.key ?? object['key']
  if (typeof raw !== 'string' || (raw === '' && !versity))
    throw new DiscardError(`${at}.s3.object.key is missing`)
  return [
    {
      object: {
        bucket,
        // VersityGW alone leaves the key as it is; the others encode it as a form does.
        key: versity ? raw : formDecode(raw, at),
        // VersityGW also says null of a version whose id it does not tell.
        versionId:
          versity && object['versionId'] === nullVersion
            ? undefined
            : versionOf(object['versionId']),
        etag: etagOf(object['eTag']),
        size: typeof object['size'] === 'number' ? object['size'] : undefined,
        sequencer: typeof object['sequencer'] === 'string' ? object['sequencer'] : undefined,
      },
      trigger: {
        kind: 'event',
        after: timeOf(record['eventTime']),
        event: numberOf(object['sequencer']),
      },
      uploader: uploaderOf(record, bucket),
    },
  ]
}

/**
 * Who has the bucket's place where the store names nobody. Undefined of an HTML form: there MinIO takes the name from a header that may
 * stand beside the form's own signature, and checks nothing of it.
 */
function uploaderOf(
  { userIdentity, eventName }: Record<string, unknown>,
  bucket: string,
): string | undefined {
  if (typeof eventName === 'string' && eventName.endsWith(':Post')) return undefined
  const known = isRecord(userIdentity) ? userIdentity : {}
  // VersityGW and old MinIO spell it with a capital.
  const id = known['principalId'] ?? known['PrincipalId']
  return typeof id === 'string' && id !== '' ? id : `bucket ${bucket}`
}

/**
 * VersityGW writes the whole path into the bucket's ARN, and only that is a copy of its own: under load the key beside it can
 * be the one of the next request on the same connection (measured with 1.8.0: 2 events of 3000).
 */
function placeInArn(arn: unknown): { bucket: string; key: string } | undefined {
  const match = typeof arn === 'string' ? /^arn:aws:s3:::\/([^/]+)\/?(.*)$/s.exec(arn) : null
  const [, bucket, key] = match ?? []
  return bucket === undefined || key === undefined ? undefined : { bucket, key }
}

function decodeOwn(objects: readonly unknown[], trigger: unknown): ScanJob[] {
  const kind = isRecord(trigger) && typeof trigger['kind'] === 'string' ? trigger['kind'] : 'manual'
  const id = isRecord(trigger) && typeof trigger['id'] === 'string' ? trigger['id'] : undefined
  const after = isRecord(trigger) ? timeOf(trigger['after']) : undefined
  const event = isRecord(trigger) ? numberOf(trigger['event']) : undefined
  const write = after === undefined ? {} : { after, ...(event === undefined ? {} : { event }) }
  if (!isTriggerKind(kind)) throw new DiscardError(`trigger.kind "${kind}" is unknown`)
  return objects.map((object, index) => {
    if (!isRecord(object)) throw new DiscardError(`objects[${index}] is not an object`)
    return {
      object: {
        bucket: text(object['bucket'], `objects[${index}].bucket`),
        key: text(object['key'], `objects[${index}].key`),
        versionId: versionOf(object['versionId']),
        etag: etagOf(object['etag']),
        size: typeof object['size'] === 'number' ? object['size'] : undefined,
        ...(typeof object['previous'] === 'string' ? { previous: object['previous'] } : {}),
      },
      trigger: { kind, id, ...write },
    }
  })
}

/** An event's sequencer, in the characters of a proof. */
function numberOf(value: unknown): string | undefined {
  return typeof value === 'string' && /^[0-9A-Za-z]{1,32}$/.test(value) ? value : undefined
}

/** To the millisecond; what is no time is as if it were not there. */
function timeOf(value: unknown): Date | undefined {
  const time = typeof value === 'string' ? new Date(value) : undefined
  return time === undefined || Number.isNaN(time.getTime()) ? undefined : time
}

function isTriggerKind(kind: string): kind is TriggerKind {
  return triggerKinds.has(kind)
}

function formDecode(key: string, at: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '))
  } catch (error) {
    throw new DiscardError(`${at}.s3.object.key is not url-encoded`, { cause: error })
  }
}

function versionOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function etagOf(value: unknown): string | undefined {
  const etag = typeof value === 'string' ? value.replaceAll('"', '') : ''
  // What cannot stand in a header no store has given: the job is then about the object as it is.
  return /^[\x21-\x7e]+$/.test(etag) ? etag : undefined
}

function part(record: Record<string, unknown>, name: string, at: string): Record<string, unknown> {
  const value = record[name]
  if (!isRecord(value)) throw new DiscardError(`${at}.${name} is missing`)
  return value
}

function text(value: unknown, at: string): string {
  if (typeof value !== 'string' || value === '') throw new DiscardError(`${at} is missing`)
  return value
}

/** A thousand records fit; the broker lets 128 MB through, which as objects would be more than a service's whole memory. */
const longestMessage = 4 * 2 ** 20

/** @throws DiscardError saying that `what` is not JSON, or too long. */
function parseJson(body: Buffer, what: string): unknown {
  if (body.length > longestMessage)
    throw new DiscardError(`${what} has ${body.length} bytes; none of ours is that long`)
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw new DiscardError(`${what} is not JSON`, { cause: toError(error) })
  }
}

function parseObject(body: Buffer, what: string): Record<string, unknown> {
  const value = parseJson(body, what)
  if (!isRecord(value)) throw new DiscardError(`${what} is not a JSON object`)
  return value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// ---- verdicts ----

export type Verdict = 'CLEAN' | 'INFECTED' | 'SUSPICIOUS' | 'UNSCANNABLE' | 'SKIPPED'
/** FAILED is no verdict: it tells that there will be none without somebody's help. */
export type Outcome = Verdict | 'FAILED'

export type ActionType = 'none' | 'tag' | 'delete'

export interface ObjectDetails {
  bucketName: string
  objectKey: string
  versionId?: string | undefined
  eTag?: string | undefined
  size?: number | undefined
  /** ISO 8601, to the second. */
  lastModified?: string | undefined
}

export interface EngineReport {
  name: string
  engineVersion: string
  signatureVersion: string
  status: 'clean' | 'infected' | 'suspicious' | 'unscannable'
  signature?: string | undefined
}

/** Verdict message and webhook body: Standard Webhooks around GuardDuty's field names. ≤ 20 kB. */
export interface VerdictMessage {
  /** `object.scan.clean`, … */
  type: string
  /** ISO 8601. */
  timestamp: string
  data: {
    schemaVersion: '1.0'
    scanStatus: 'COMPLETED' | 'SKIPPED' | 'FAILED'
    resourceType: 'S3_OBJECT'
    s3ObjectDetails: ObjectDetails
    scanResultDetails: {
      scanResultStatus: Outcome
      /** In a re-scan whose verdict differs: the value of the verdict tag before (`clean`). */
      previous?: string | undefined
      threats: { name: string }[]
      /** 100–110 and 199: see the README's table. */
      statusReasons: number[]
      detail?: string | undefined
    }
    scan?: {
      id: string
      engines: EngineReport[]
      signatureVersion: string
      signatureSet: 'official' | 'custom' | 'test'
      startedAt: string
      durationMs: number
      bytes: number
      sha256: string
      complete: boolean
    }
    action: { type: ActionType }
    attempt: number
    trigger: TriggerKind
  }
}

/** What became of an object: `object.deleted`, `object.action-failed`. */
export interface ObjectMessage {
  type: string
  timestamp: string
  data: {
    schemaVersion: '1.0'
    s3ObjectDetails: ObjectDetails
    action: { type: ActionType; verdictId: string; detail?: string }
  }
}

export type OutMessage = VerdictMessage | ObjectMessage

/** A job of the actions queue: do it to exactly this version. */
export interface ActionJob {
  action: 'delete'
  object: {
    bucket: string
    key: string
    versionId?: string | undefined
    etag: string
    lastModified: string
  }
  verdictId: string
  signature: string
  /** By which whoever carries it out knows that a worker has asked for it; '' in jobs of release 1.0. */
  seal: string
}

/** @throws DiscardError when the body is no action job. */
export function decodeActionJob(body: Buffer): ActionJob {
  const job = parseJson(body, 'the action job')
  if (!isRecord(job) || job['action'] !== 'delete')
    throw new DiscardError('the action job names no action that we know')
  const object = part(job, 'object', 'job')
  return {
    action: 'delete',
    object: {
      bucket: text(object['bucket'], 'object.bucket'),
      key: text(object['key'], 'object.key'),
      versionId: versionOf(object['versionId']),
      etag: text(object['etag'], 'object.etag'),
      lastModified: text(object['lastModified'], 'object.lastModified'),
    },
    verdictId: text(job['verdictId'], 'verdictId'),
    signature: typeof job['signature'] === 'string' ? job['signature'] : '',
    seal: typeof job['seal'] === 'string' ? job['seal'] : '',
  }
}

/** The engines of a worker judge by other signatures than before, or it has just started. */
export interface SignaturesUpdated {
  type: 'signatures.updated'
  timestamp: string
  data: { schemaVersion: '1.0'; signatureVersion: string }
}

/** Somebody wants the buckets compared with the proven verdicts. */
export interface SweepRequested {
  type: 'sweep.requested'
  timestamp: string
  /** ISO 8601 both. `since`: only versions that are not older. `after`: proofs from before do not count. */
  data: { id: string; reason: string; since?: string | undefined; after?: string | undefined }
}

export type ReconcileMessage = SignaturesUpdated | SweepRequested

/** A message of the queue `avscan.reconcile`. @throws DiscardError when it is none. */
export function decodeReconcileMessage(body: Buffer): ReconcileMessage {
  const message = parseObject(body, 'the message')
  const data = part(message, 'data', 'message')
  const timestamp = text(message['timestamp'], 'timestamp')
  if (message['type'] === 'signatures.updated') {
    const signatureVersion = text(data['signatureVersion'], 'data.signatureVersion')
    return {
      type: 'signatures.updated',
      timestamp,
      data: { schemaVersion: '1.0', signatureVersion },
    }
  }
  if (message['type'] !== 'sweep.requested')
    throw new DiscardError('the message is neither signatures.updated nor sweep.requested')
  const time = (name: 'since' | 'after') => {
    const value = data[name]
    if (value === undefined) return undefined
    if (timeOf(value) === undefined) throw new DiscardError(`data.${name} is no time`)
    return value as string
  }
  return {
    type: 'sweep.requested',
    timestamp,
    data: {
      id: text(data['id'], 'data.id'),
      reason: text(data['reason'], 'data.reason'),
      since: time('since'),
      after: time('after'),
    },
  }
}

/** @throws DiscardError when the body is no message of the verdicts exchange. */
export function decodeOutMessage(body: Buffer): OutMessage {
  const message = parseObject(body, 'the verdict message')
  text(message['type'], 'type')
  text(message['timestamp'], 'timestamp')
  const details = part(part(message, 'data', 'message'), 's3ObjectDetails', 'data')
  text(details['bucketName'], 'data.s3ObjectDetails.bucketName')
  if (typeof details['objectKey'] !== 'string')
    throw new DiscardError('data.s3ObjectDetails.objectKey is missing')
  // The fields that the notifier decides by are checked; the rest is passed on as it is.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return message as unknown as OutMessage
}

// Namespace of our ids; any constant does, and it must never change.
const idNamespace = '5b0f2a7c-9d1e-5c52-8c1e-6a1b7f0d9e43'

/**
 * The id of a message about an object: the same facts give the same id, so a redelivery, a verify or a sweep repeats it
 * and receivers can drop it. `parts`: bucket, key, versionId, etag, Last-Modified, what is said, generation.
 */
export function messageId(...parts: readonly (string | undefined)[]): string {
  return uuid(JSON.stringify(parts.map((value) => value ?? null)), idNamespace)
}
