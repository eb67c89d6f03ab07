// One line of MinIO's or Silo's audit log, read as far as we need it. Names as the store has them (madmin-go, logger/audit).
import { DiscardError, toError } from '../shared/errors.ts'

export interface AuditEntry {
  /** When the store had finished the call, on its own clock; ISO 8601 with nanoseconds. */
  time: string
  /** `PutObject`, … */
  api: string
  bucket: string
  /** Of a copy it is the source; a form has none. */
  object: string
  status: number
  /** As sent, decoded once. */
  path: string
  host: string
  query: Readonly<Record<string, string>>
  headers: Readonly<Record<string, string>>
  answered: Readonly<Record<string, string>>
  /** What the store's own layers noted: under `PutObject` the name that was written. */
  notes: Readonly<Record<string, string>>
  /** '' for a form, whose key is in its body. */
  accessKey: string
  remoteHost: string
  requestId: string
}

/** A store's clock may be wrong; a time beyond this would outdate every later proof. */
const mostAheadMs = 24 * 3_600_000

/** @throws DiscardError when the line is no audit entry. */
export function parseEntry(line: string, now = Date.now()): AuditEntry {
  const entry = parse(line)
  const api = record(entry['api'])
  const time = text(entry['time'])
  const at = Date.parse(time)
  if (Number.isNaN(at)) throw new DiscardError('the audit entry has no time')
  if (at > now + mostAheadMs)
    throw new DiscardError('the time of the audit entry is more than a day ahead of our clock')
  return {
    time,
    api: text(api['name']),
    bucket: text(api['bucket']),
    object: text(api['object']),
    status: typeof api['statusCode'] === 'number' ? api['statusCode'] : 0,
    path: text(entry['requestPath']),
    host: text(entry['requestHost']),
    query: texts(entry['requestQuery']),
    headers: texts(entry['requestHeader']),
    answered: texts(entry['responseHeader']),
    notes: texts(entry['tags']),
    accessKey: text(entry['accessKey']),
    remoteHost: text(entry['remotehost']),
    requestId: text(entry['requestID']),
  }
}

function parse(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line)
    if (isRecord(value)) return value
  } catch (error) {
    throw new DiscardError('the audit entry is not JSON', { cause: toError(error) })
  }
  throw new DiscardError('the audit entry is no JSON object')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const record = (value: unknown) => (isRecord(value) ? value : {})
const text = (value: unknown) => (typeof value === 'string' ? value : '')
// The values are looked at one by one, and only those that are asked for: an entry has some forty.
const texts = (value: unknown) => record(value) as Readonly<Record<string, string>>
