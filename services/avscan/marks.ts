// What is written about an object where its readers look: the verdict tag and its proof, or, where tags cannot hold them,
// a record in the scanner-only bucket. The uploader's own tags stay.
import type { Config } from '../shared/config-schema.ts'
import { ObjectGoneError, RetryLaterError } from '../shared/errors.ts'
import type { ActionJob } from '../shared/messages.ts'
import type { ObjectStore, Tags } from '../shared/object-store.ts'
import { sealAction, writeProof } from '../shared/proof.ts'
import {
  isUnfinished,
  proofOptions,
  Proofs,
  recordKey,
  referenceOf,
  stands,
  type Marked,
  type ProofOptions,
  type Proven,
  type Write,
} from '../shared/proven.ts'

export interface Mark {
  tag: 'clean' | 'infected' | 'no' | 'unscanned'
  reason: number
  signatureVersion: string
  judgedAt: Date
  /** What the job knows to have been written: a proof from before is not about these bytes. */
  write: Write
  /** Of the judged bytes, as a proof names them; '' where nobody has read them. */
  content: string
  /** Written as -at, -reason, -signature, -engine when details are on and fit. */
  detail: { at: string; reason: string; signature: string; engine: string }
}

export interface MarkOptions extends ProofOptions {
  tagDetail: boolean
}

const maxTags = 10
const ours = ['', '-proof', '-at', '-reason', '-signature', '-engine']

export class Marks extends Proofs {
  readonly #options: MarkOptions

  constructor(store: ObjectStore, options: MarkOptions) {
    super(store, options)
    this.#options = options
  }

  /**
   * Writes the mark; repeating it changes nothing, and a newer proof of the same verdict stays.
   * @throws ObjectGoneError when the version is gone; ObjectChangedError when a newer one got the tags; RetryLaterError when others
   * have judged otherwise meanwhile; Error when a clean mark would replace a proven `infected` of the same bytes and signatures.
   */
  async write(object: Marked, mark: Mark): Promise<void> {
    const { tags: useTags, tagKey } = this.#options
    // Right before they are replaced: what the application, or another worker, has written since the download must stay.
    const present = await this.store.tags(referenceOf(object))
    const callers = this.#callersOf(present)
    const count = Object.keys(callers).length
    const fits = useTags && count + 2 <= maxTags
    const before =
      this.verify(object, present[tagKey], present[this.proofTag]) ??
      (fits ? undefined : await this.readRecord(object))
    const isOfThem = before !== undefined && isAboutTheSame(before, mark)
    if (
      isOfThem &&
      mark.tag !== 'infected' &&
      before.tag === 'infected' &&
      (mark.tag !== 'clean' || sameOrNewer(before.signatureVersion, mark.signatureVersion))
    )
      throw new Error(
        `the object is proven infected under signatures ${before.signatureVersion}; "${mark.tag}" cannot replace that`,
      )
    if (before !== undefined && before.judgedAt >= mark.judgedAt && mayBeOfOthers(before, mark)) {
      // Not older, as far as whole seconds tell: other bytes may be there by now, so somebody has to look again.
      if (before.tag !== mark.tag)
        throw new RetryLaterError(
          `the object was judged "${before.tag}" while it was judged "${mark.tag}"`,
          { delayMs: 1000 },
        )
      if (before.judgedAt > mark.judgedAt) return
    }
    const proof = this.#prove(object, mark, isOfThem ? before.firstJudgedAt : mark.judgedAt)
    if (fits) {
      const tags: Tags = { ...callers, [tagKey]: mark.tag, [this.proofTag]: proof }
      if (this.#options.tagDetail) this.#addDetails(tags, mark)
      await this.store.setTags(referenceOf(object), tags)
      return
    }
    // Too many tags of the caller's: an 11th is refused. The bare verdict still goes where it fits.
    if (useTags && count + 1 <= maxTags)
      await this.store.setTags(referenceOf(object), { ...callers, [tagKey]: mark.tag })
    await this.store.writeText(
      this.#options.recordsBucket,
      recordKey(object),
      JSON.stringify({
        bucket: object.bucket,
        key: object.key,
        versionId: object.facts.versionId,
        etag: object.facts.etag,
        lastModified: object.facts.lastModified.toISOString(),
        verdict: mark.tag,
        proof,
        ...mark.detail,
      }),
    )
  }

  /** The job as those who carry it out believe it. */
  seal(job: Omit<ActionJob, 'seal'>): ActionJob {
    return { ...job, seal: sealAction(job, this.#options.proofKey) }
  }

  /** Takes our tags off an object that they were not meant for. */
  async withdraw(object: Marked): Promise<void> {
    try {
      const tags = await this.store.tags(referenceOf(object))
      await this.store.setTags(referenceOf(object), this.#callersOf(tags))
    } catch (error) {
      if (!(error instanceof ObjectGoneError)) throw error
    }
  }

  #callersOf(tags: Tags): Tags {
    const isOurs = (key: string) =>
      ours.some((suffix) => key === `${this.#options.tagKey}${suffix}`)
    return Object.fromEntries(Object.entries(tags).filter(([key]) => !isOurs(key)))
  }

  #prove({ bucket, key, facts }: Marked, mark: Mark, firstJudgedAt: Date): string {
    const { versionId, etag, lastModified, size } = facts
    const { tag: verdict, reason, signatureVersion, judgedAt, write, content } = mark
    const event = write.event ?? ''
    return writeProof(
      { bucket, key, versionId, etag, lastModified, size, verdict },
      { reason, signatureVersion, judgedAt, firstJudgedAt, event, content },
      this.#options.proofKey,
    )
  }

  #addDetails(tags: Tags, { detail }: Mark): void {
    for (const [name, value] of Object.entries(detail)) {
      const text = tagValue(value)
      if (text !== '' && Object.keys(tags).length < maxTags)
        tags[`${this.#options.tagKey}-${name}`] = text
    }
  }
}

/** Somebody has looked, and not, as far as both know, at the same bytes. */
function mayBeOfOthers(before: Proven, { content }: Mark): boolean {
  return !isUnfinished(before) && (content === '' || before.content !== content)
}

/** Where both know the bytes these tell; else whether nothing is known to have been written since. */
function isAboutTheSame(before: Proven, { content, write }: Mark): boolean {
  if (before.content !== '' && content !== '') return before.content === content
  return stands(before, write)
}

export function createMarks(store: ObjectStore, config: Config): Marks {
  return new Marks(store, { ...proofOptions(config), tagDetail: config.tags.detail })
}

/** A text in the characters and the length that S3 allows in a tag value. */
export function tagValue(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9 +\-=._:/@]/g, '_').slice(0, 256)
}

/** Signature versions are numbers where there is an official set; others are only ever compared for being the same. */
function sameOrNewer(before: string, now: string): boolean {
  return (
    before === now || (/^\d+$/.test(before) && /^\d+$/.test(now) && Number(before) >= Number(now))
  )
}
