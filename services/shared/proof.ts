// The proof tag: an HMAC over object and verdict that only avscan and the reconciler can write. A verdict tag alone proves nothing,
// for uploaders can write tags and CopyObject carries them along.
import { createHmac, timingSafeEqual } from 'node:crypto'

export interface ProvenFacts {
  bucket: string
  key: string
  versionId: string | undefined
  etag: string
  lastModified: Date
  /** The value of the verdict tag: `clean`, `infected` or `no`. */
  verdict: string
  /** 0, or a reason code. */
  reason: number
  signatureVersion: string
}

export interface Proof {
  reason: number
  signatureVersion: string
}

const macLength = 22

/** `1.<reason code>.<signature version>.<mac>`; fits a tag value and its characters. */
export function writeProof(facts: ProvenFacts, key: string): string {
  const version = proofVersion(facts.signatureVersion)
  return `1.${facts.reason}.${version}.${mac({ ...facts, signatureVersion: version }, key)}`
}

/** What `tag` proves about this very version and verdict, or undefined: then the object is unscanned. Old keys still verify. */
export function readProof(
  tag: string | undefined,
  facts: Omit<ProvenFacts, 'reason' | 'signatureVersion'>,
  keys: readonly string[],
): Proof | undefined {
  const match = /^1\.(\d{1,3})\.([A-Za-z0-9_-]{0,64})\.([A-Za-z0-9_-]{22})$/.exec(tag ?? '')
  if (match === null) return undefined
  const [, reason = '', signatureVersion = '', given = ''] = match
  const proven = { ...facts, reason: Number(reason), signatureVersion }
  // Anybody can write a proof by an empty key.
  const known = keys.some(
    (key) => key !== '' && timingSafeEqual(Buffer.from(mac(proven, key)), Buffer.from(given)),
  )
  return known ? { reason: proven.reason, signatureVersion } : undefined
}

/** A signature version in the characters that a proof can hold. */
export function proofVersion(signatureVersion: string): string {
  return signatureVersion.replaceAll(/[^A-Za-z0-9_-]/g, '-').slice(0, 64)
}

function mac(facts: ProvenFacts, key: string): string {
  const text = JSON.stringify([
    'bucket-av-scanner proof 1',
    ...identityOf(facts),
    facts.verdict,
    facts.reason,
    facts.signatureVersion,
  ])
  return createHmac('sha256', key).update(text).digest('base64url').slice(0, macLength)
}

/**
 * What makes these bytes these bytes, the same whoever looks and whenever: VersityGW lists `a//b` as `a/b`, and dates a
 * version anew when the next one is put. Where there are no versions the time, in seconds (stores give milliseconds in one
 * answer and not in another), tells two uploads of the same bytes apart.
 */
export function identityOf(
  facts: Pick<ProvenFacts, 'bucket' | 'key' | 'versionId' | 'etag' | 'lastModified'>,
): [bucket: string, key: string, version: string | null, etag: string, seconds: number | null] {
  const { bucket, key, versionId, etag, lastModified } = facts
  if (versionId === undefined)
    return [bucket, key, null, etag, Math.floor(lastModified.getTime() / 1000)]
  return [bucket, key.replaceAll(/\/{2,}/g, '/'), versionId, etag, null]
}
