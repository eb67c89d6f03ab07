// What a call of the audit log means for the verdicts: nothing, one object to judge again, or everything. Pure.
import type { AuditEntry } from './entry.ts'
import type { Uploads } from './uploads.ts'

export interface Written {
  bucket: string
  key: string
  versionId?: string | undefined
}

export type Decision =
  /** No write, or one whose event says all there is to say. */
  | { kind: 'nothing' }
  /** An archive that the store unpacked: an event for each object in it. */
  | { kind: 'unpacked' }
  /** Its identity is the uploader's choice, or there is no event. `signs`: what gives it away; none where it may be so. */
  | { kind: 'verify'; written: Written; signs: string[] }
  /** The same of objects that the entry does not name. */
  | { kind: 'sweep'; bucket: string; signs: string[] }
  /** A multipart upload was begun so; what matters is its end. */
  | { kind: 'begun'; written: Written; signs: string[] }

/** The calls that write an object. Of those only, for reading or deleting a version names one too. */
const writes = new Set([
  'PutObject',
  'CopyObject',
  'CompleteMultipartUpload',
  'NewMultipartUpload',
  'PostPolicyBucket',
  'PutObjectExtract',
])

/** Those of replication, with which a store tells another what to call an object, how old it is and not to tell of it. */
const forging = /^x-(minio-source-|minio-replication-|amz-replication-|amz-bucket-replication-)/i
const noEvent = 'x-minio-source-replication-request'

const nothing: Decision = { kind: 'nothing' }

/** @param hasBegun whether this upload was begun with such signs */
export function decide(
  entry: AuditEntry,
  buckets: ReadonlySet<string>,
  hasBegun: Uploads['has'] = () => undefined,
): Decision {
  const { api, status } = entry
  if (!writes.has(api)) return nothing
  const signs = signsOf(entry)
  if (api === 'PutObjectExtract') return ofArchive(entry, buckets, signs)
  // Refused by the store, so nothing was written. A 5xx or an answer that nobody took may come after the write.
  if (status >= 400 && status < 499) return nothing
  if (signs.length === 0 && api !== 'CompleteMultipartUpload') return nothing
  const place = placeOf(entry, buckets)
  if (place === 'foreign') return nothing
  if (place === undefined) return { kind: 'sweep', bucket: entry.bucket, signs }
  const versionId =
    header(entry.answered, 'x-amz-version-id') ?? (entry.query['versionId'] || undefined)
  const written = { ...place, ...(versionId === undefined ? {} : { versionId }) }
  if (!canBeHeld(written)) return { kind: 'sweep', bucket: entry.bucket, signs }
  if (api === 'NewMultipartUpload') return { kind: 'begun', written, signs }
  const begun = api === 'CompleteMultipartUpload' ? hasBegun(written) : undefined
  if (begun === 'begun') signs.push('begun with a forged identity')
  return signs.length === 0 && begun === undefined ? nothing : { kind: 'verify', written, signs }
}

/** What of a request a notification does not tell, though it decides what the object looks like: names, never values. */
function signsOf({ headers, query }: AuditEntry): string[] {
  const signs = Object.keys(headers)
    .filter((name) => forging.test(name))
    .map((name) => name.toLowerCase())
  if ((query['versionId'] ?? '') !== '') signs.push('versionId')
  return signs
}

/** The objects of an archive that was refused in the middle are there as well, so the status says nothing. */
function ofArchive(entry: AuditEntry, buckets: ReadonlySet<string>, signs: string[]): Decision {
  if (!buckets.has(entry.bucket)) return nothing
  // Nothing was unpacked when the store has not noted a write.
  if (entry.status >= 400 && entry.notes['PutObject'] === undefined) return nothing
  if (!signs.includes(noEvent)) return { kind: 'unpacked' }
  return { kind: 'sweep', bucket: entry.bucket, signs: [...signs, 'archive'] }
}

/** In bytes, as S3 has it. */
const longestName = 1024

/**
 * A job of another name would be one that no worker can do, or that the broker does not take. No store has such an object, so the
 * entry does not say what was written.
 */
function canBeHeld({ key, versionId = '' }: Written): boolean {
  return [key, versionId].every(
    (name: unknown) =>
      typeof name === 'string' && name.isWellFormed() && Buffer.byteLength(name) <= longestName,
  )
}

type Place = { bucket: string; key: string } | 'foreign' | undefined

/** Where it was written; undefined when the entry does not say. */
function placeOf(entry: AuditEntry, buckets: ReadonlySet<string>): Place {
  if (entry.api === 'CopyObject') return placeOfCopy(entry, buckets)
  const { bucket } = entry
  if (!buckets.has(bucket)) return 'foreign'
  const key = entry.api === 'PostPolicyBucket' ? keyOfForm(entry) : entry.object
  return key === undefined || key === '' ? undefined : { bucket, key }
}

/** A copy's entry names the source; the path names the target. */
function placeOfCopy({ path, host }: AuditEntry, buckets: ReadonlySet<string>): Place {
  const [, bucket = '', rest = ''] = /^\/([^/]+)\/(.+)$/s.exec(path) ?? []
  if (buckets.has(bucket)) return { bucket, key: withoutLeadingSlashes(rest) }
  // With MINIO_DOMAIN the bucket can stand in the host's name.
  const inHost = [...buckets].find((one) => host.startsWith(`${one}.`))
  if (inHost !== undefined)
    return path.length > 1
      ? { bucket: inHost, key: withoutLeadingSlashes(path.slice(1)) }
      : undefined
  return bucket === '' ? undefined : 'foreign'
}

/** As the store does: `//a//b` is `a/b`, and nothing else is changed. */
function withoutLeadingSlashes(key: string): string {
  return key.startsWith('/') ? key.replaceAll(/\/+/g, '/').slice(1) : key
}

/** The key stands in the form; the store notes the name under which it has written. */
function keyOfForm({ notes, answered }: AuditEntry): string | undefined {
  // One that fans out has several names, notes the last one, and answers without a place.
  if (header(answered, 'location') === undefined) return undefined
  return /^name=(.+),pool=\d+,set=\d+$/s.exec(notes['PutObject'] ?? '')?.[1]
}

function header(headers: Readonly<Record<string, string>>, name: string): string | undefined {
  const found = Object.keys(headers).find((one) => one.toLowerCase() === name)
  return found === undefined || headers[found] === '' ? undefined : headers[found]
}
