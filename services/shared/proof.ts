// The proof tag: an HMAC over object and verdict that only who has PROOF_KEY can write. A verdict tag alone proves nothing,
// for uploaders can write tags and CopyObject carries them along.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { isOverwritable, type ActionJob } from './messages.ts'

export interface ProvenFacts {
  bucket: string
  key: string
  versionId: string | undefined
  etag: string
  lastModified: Date
  /** In bytes. */
  size: number
  /** The value of the verdict tag: `clean`, `infected` or `no`. */
  verdict: string
}

export interface Proof {
  /** 0, or a reason code. */
  reason: number
  signatureVersion: string
  /** The judged bytes were there at this time of the store's clock, or later. */
  judgedAt: Date
  /** When these bytes were judged for the first time: a re-scan leaves it as it is. */
  firstJudgedAt: Date
  /** The store's own number of the event that led to the judgement, which came after it; '' without one. */
  event: string
  /** The first characters of the sha256 of the bytes; '' where nobody has read them. */
  content: string
}

const macLength = 22
const contentLength = 16

/** `2.<reason>.<signature version>.<judged at>.<first judged at>.<event>.<content>.<mac>`; fits a tag value and its characters. */
export function writeProof(facts: ProvenFacts, proof: Proof, key: string): string {
  const said = { ...proof, signatureVersion: proofVersion(proof.signatureVersion) }
  const { reason, signatureVersion, judgedAt, firstJudgedAt, event, content } = said
  const times = `${compact(judgedAt)}.${compact(firstJudgedAt)}`
  return `2.${reason}.${signatureVersion}.${times}.${event}.${content}.${mac(facts, said, key)}`
}

/**
 * What `tag` proves about this very version and verdict, or undefined: then the object is unscanned. Old keys still verify; a proof
 * of release 1.0 (`1.…`) does not, for it names no time.
 */
export function readProof(
  tag: string | undefined,
  facts: ProvenFacts,
  keys: readonly string[],
): Proof | undefined {
  const match = pattern.exec(tag ?? '')
  if (match === null) return undefined
  const [, reason = '', signatureVersion = '', judged = '', first = ''] = match
  const [, , , , , event = '', content = '', given = ''] = match
  const [judgedAt, firstJudgedAt] = [expand(judged), expand(first)]
  const times = { judgedAt, firstJudgedAt }
  const proof = { reason: Number(reason), signatureVersion, ...times, event, content }
  if ([judgedAt, firstJudgedAt].some((time) => Number.isNaN(time.getTime()))) return undefined
  // Anybody can write a proof by an empty key.
  const known = keys.some(
    (key) => key !== '' && timingSafeEqual(Buffer.from(mac(facts, proof, key)), Buffer.from(given)),
  )
  return known ? proof : undefined
}

const pattern =
  /^2\.(\d{1,3})\.([A-Za-z0-9_-]{0,64})\.(\d{8}T\d{9}Z)\.(\d{8}T\d{9}Z)\.([A-Za-z0-9]{0,32})\.([A-Za-z0-9_-]{0,16})\.([A-Za-z0-9_-]{22})$/

/** ISO 8601 without the characters that no tag value may have, and without dots: `20261126T010542123Z`. */
function compact(time: Date): string {
  return time.toISOString().replaceAll(/[-:.]/g, '')
}

function expand(text: string): Date {
  return new Date(text.replace(/^(....)(..)(..)T(..)(..)(..)(...)Z$/, '$1-$2-$3T$4:$5:$6.$7Z'))
}

/**
 * When bytes that the store has answered with are known to have been there, on its own clock. Its Date header (`servedAt`) tells whole
 * seconds; one millisecond less, so that a write in the very millisecond of the header is not taken for one before it. The time that
 * an event tells would be more exact, and anybody's who may write to the exchange of the events.
 */
export function judgedTime(servedAt: Date): Date {
  return new Date(servedAt.getTime() - 1)
}

/** @param sha256 in hex */
export function contentOf(sha256: string): string {
  return Buffer.from(sha256, 'hex').toString('base64url').slice(0, contentLength)
}

/** A signature version in the characters that a proof can hold. */
export function proofVersion(signatureVersion: string): string {
  return signatureVersion.replaceAll(/[^A-Za-z0-9_-]/g, '-').slice(0, 64)
}

function mac(facts: ProvenFacts, proof: Proof, key: string): string {
  const text = JSON.stringify([
    'bucket-av-scanner proof 2',
    ...identityOf(facts),
    facts.size,
    facts.verdict,
    proof.reason,
    proof.signatureVersion,
    proof.judgedAt.toISOString(),
    proof.firstJudgedAt.toISOString(),
    proof.event,
    proof.content,
  ])
  return createHmac('sha256', key).update(text).digest('base64url').slice(0, macLength)
}

/** An HMAC over a whole action job: who else may publish to its queue could have any object deleted. */
export function sealAction(job: Omit<ActionJob, 'seal'>, key: string): string {
  const { bucket, key: name, versionId = null, etag, lastModified } = job.object
  const text = JSON.stringify([
    'bucket-av-scanner action 1',
    job.action,
    bucket,
    name,
    versionId,
    etag,
    lastModified,
    job.verdictId,
    job.signature,
  ])
  return createHmac('sha256', key).update(text).digest('base64url')
}

/** Old keys still count. */
export function isSealed(job: ActionJob, keys: readonly string[]): boolean {
  const given = Buffer.from(job.seal)
  return keys.some((key) => {
    const seal = Buffer.from(sealAction(job, key))
    return key !== '' && seal.length === given.length && timingSafeEqual(seal, given)
  })
}

/**
 * What makes these bytes these bytes, the same whoever looks and whenever: VersityGW lists `a//b` as `a/b`, and dates a
 * version anew when the next one is put. Where a key has one place only (no versions, or the version called `null`, which an
 * upload overwrites while versioning is suspended) the time, in seconds (stores give milliseconds in one answer and not in
 * another), tells two uploads of the same bytes apart; both are one place, for a bucket may become versioned.
 */
export function identityOf(
  facts: Pick<ProvenFacts, 'bucket' | 'key' | 'versionId' | 'etag' | 'lastModified'>,
): [bucket: string, key: string, version: string | null, etag: string, seconds: number | null] {
  const { bucket, key, versionId, etag, lastModified } = facts
  if (isOverwritable(versionId))
    return [bucket, key, null, etag, Math.floor(lastModified.getTime() / 1000)]
  return [bucket, key.replaceAll(/\/{2,}/g, '/'), versionId ?? null, etag, null]
}
