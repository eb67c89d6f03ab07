// What is proven about an object: the verdict tag with its proof, or the record that stands for them where tags cannot hold them.
// Asked by workers and by the reconciler alike; written by workers alone (avscan/marks.ts).
import { createHash } from 'node:crypto'
import type { Config } from './config-schema.ts'
import type { ActionJob, ScanJob } from './messages.ts'
import type { ObjectFacts, ObjectStore } from './object-store.ts'
import { identityOf, isSealed, readProof, type Proof } from './proof.ts'

/** Reason code of a job that was given up, and of what was let pass while no engine could be asked. */
export const otherReason = 199

/** Another judgement can be so much later than an answer that is still being worked on. */
const longestScanMs = 60 * 60_000

/** A proven verdict that says that nobody has judged the bytes: a sweep tries them again. */
export function isUnfinished({ tag, reason }: Proven): boolean {
  return tag === 'unscanned' || (tag === 'no' && reason === otherReason)
}

export interface ProofOptions {
  tags: boolean
  tagKey: string
  recordsBucket: string
  proofKey: string
  oldProofKeys: readonly string[]
}

/** An object and the facts of the version that is meant. */
export interface Marked {
  bucket: string
  key: string
  facts: ObjectFacts
}

/** `tag`: the value of the verdict tag. */
export type Proven = Proof & { tag: string }

/** A write that a proof must know of: its time, and the store's own number of its event. */
export type Write = Pick<ScanJob['trigger'], 'after' | 'event'>

/**
 * Whether a proof still counts where something is known to have been written at `after`: on MinIO an uploader can put other bytes
 * under the same version id, ETag and date, so a proof from before says nothing about what is there now. One that was made for that
 * very event came after it, whatever its time says in whole seconds; nobody knows the numbers of events to come.
 */
export function stands(proven: Proven | undefined, { after, event }: Write): proven is Proven {
  if (proven === undefined || after === undefined) return proven !== undefined
  return proven.judgedAt >= after || (event !== undefined && proven.event === event)
}

export class Proofs {
  protected readonly store: ObjectStore
  readonly #options: ProofOptions

  constructor(store: ObjectStore, options: ProofOptions) {
    this.store = store
    this.#options = options
  }

  /** The verdict of this very version that only we can have written; undefined: it is unscanned, whatever its tags say. */
  async proven(object: Marked): Promise<Proven | undefined> {
    const { tags: useTags, tagKey } = this.#options
    if (useTags && object.facts.tagCount > 0) {
      const tags = await this.store.tags(referenceOf(object))
      const proven = this.verify(object, tags[tagKey], tags[this.proofTag])
      if (proven !== undefined) return proven
    }
    return this.readRecord(object)
  }

  /** Whether one of ours has asked for it. */
  isSealed(job: ActionJob): boolean {
    return isSealed(job, this.keys)
  }

  protected get keys(): string[] {
    return [this.#options.proofKey, ...this.#options.oldProofKeys]
  }

  protected async readRecord(object: Marked): Promise<Proven | undefined> {
    const { recordsBucket } = this.#options
    const text = await this.store.readText(recordsBucket, recordKey(object))
    if (text === undefined) return undefined
    const record = JSON.parse(text) as { verdict?: unknown; proof?: unknown }
    return this.verify(object, asText(record.verdict), asText(record.proof))
  }

  protected get proofTag(): string {
    return `${this.#options.tagKey}-proof`
  }

  protected verify(
    { bucket, key, facts }: Marked,
    tag: string | undefined,
    proof: string | undefined,
  ): Proven | undefined {
    if (tag === undefined) return undefined
    const { versionId, etag, lastModified, size } = facts
    const read = readProof(
      proof,
      { bucket, key, versionId, etag, lastModified, size, verdict: tag },
      this.keys,
    )
    if (read === undefined) return undefined
    // The store's clock was wrong, then or now: believed, it would stand for all that is written until that time.
    const { servedAt } = facts
    const isAhead =
      servedAt !== undefined && read.judgedAt.getTime() - servedAt.getTime() > longestScanMs
    return isAhead ? undefined : { ...read, tag }
  }
}

export function proofOptions({ tags, records, proof }: Config): ProofOptions {
  return {
    tags: tags.enabled,
    tagKey: tags.key,
    recordsBucket: records.bucket,
    proofKey: proof.key,
    oldProofKeys: proof.oldKeys,
  }
}

/** Where the record of a version lies. */
export function recordKey(object: Marked): string {
  const name = identityHash(object)
  return `verdicts/${object.bucket}/${name.slice(0, 2)}/${name}.json`
}

/** Of its whole identity, for names: a key of 1024 bytes must fit. */
export function identityHash({ bucket, key, facts }: Marked): string {
  const identity = identityOf({ bucket, key, ...facts })
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex')
}

export function referenceOf({ bucket, key, facts }: Marked) {
  return { bucket, key, versionId: facts.versionId }
}

function asText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
