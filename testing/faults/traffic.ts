// The application of a row: uploads its mix at a rate, tries again what was refused, and remembers every version that the store took.
import { setTimeout as pause } from 'node:timers/promises'
import { errorCode, toError } from '../../services/shared/errors.ts'
import { eventually } from '../support/eventually.ts'
import type { Uploader } from '../support/uploader.ts'
import { md5, planMix, sha256, type Plan, type PlannedPut } from './mix.ts'
import type { Expected, Upload } from './types.ts'
import { samePlace } from './webhooks.ts'

export interface TrafficOptions {
  uploader: Uploader
  /** Ends with `/`; no other row's. */
  prefix: string
  count: number
  perSecond: number
  random: () => number
  /** See planMix. */
  keepsOverwrites: boolean
}

/** Of a key or its tags: the store will never take it, which is not counted. */
const refusals = new Set([
  'XMinioInvalidObjectName',
  'InvalidObjectName',
  'KeyTooLongError',
  'InvalidArgument',
  'ParentIsObject',
  'ExistingObjectIsDirectory',
  'MethodNotAllowed',
  'BadRequest',
])
const atATime = 8
/** A store that is away for longer is a failure of the row. */
const patienceMs = 180_000
const answerMs = 60_000

interface Unanswered {
  key: string
  md5: string
  upload: Omit<Upload, 'key' | 'versionId' | 'etag'>
}

export class Traffic {
  readonly uploads: Upload[] = []
  readonly prefix: string
  /** How often the store did not take an upload at once. */
  refused = 0
  readonly #options: TrafficOptions
  readonly #plans: Plan[]
  readonly #unanswered: Unanswered[] = []
  #begun = 0
  #running: Promise<unknown> = Promise.resolve()
  #failure: Error | undefined

  constructor(options: TrafficOptions) {
    this.#options = options
    this.prefix = options.prefix
    const { count, random, keepsOverwrites } = options
    this.#plans = count === 0 ? [] : planMix(count, random, keepsOverwrites)
  }

  start(): void {
    const begunAt = performance.now()
    const { perSecond } = this.#options
    const work = async () => {
      for (let plan = this.#plans[this.#begun]; plan; plan = this.#plans[this.#begun]) {
        const due = begunAt + (this.#begun++ * 1000) / perSecond
        await pause(Math.max(0, due - performance.now()))
        await this.#run(plan)
      }
    }
    this.#running = Promise.all(Array.from({ length: atATime }, work)).catch((error: unknown) => {
      this.#failure = toError(error)
    })
  }

  /** Until that share of the stream has been begun. */
  async until(share: number): Promise<void> {
    await eventually(
      () => this.#failure !== undefined || this.#begun >= this.#plans.length * share,
      {
        timeoutMs: 300_000,
      },
    )
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Until all of it is in the store. */
  async done(): Promise<void> {
    await this.#running
    if (this.#failure !== undefined) throw this.#failure
  }

  /** One upload beside the mix; tried again until the store takes it. Undefined when it never will. */
  put(name: string, bytes: Buffer, expected: Expected, more: Partial<PlannedPut> = {}) {
    return this.#put({ name, bytes: () => bytes, expected, what: name, ...more })
  }

  /** An upload that came another way, below the row's prefix. */
  record(
    uploaded: Pick<Upload, 'key' | 'versionId' | 'etag'>,
    bytes: Buffer,
    expected: Expected,
    what: string,
  ): void {
    const facts = { size: bytes.length, sha256: sha256(bytes), tags: {}, deleted: false }
    this.uploads.push({ ...uploaded, ...facts, expected, what, answered: true })
  }

  /** Finds out what became of the uploads that got no answer. */
  async resolveUnanswered(): Promise<void> {
    const known = new Set(this.uploads.map(({ key, versionId }) => `${key}\n${versionId}`))
    while (this.#unanswered[0] !== undefined) {
      const { key, md5: etag, upload } = this.#unanswered[0]
      for (const version of await this.#options.uploader.versions(key)) {
        const found = `${key}\n${version.versionId}`
        // The listing is by prefix, and knows `a//b` as `a/b` on VersityGW.
        const same = samePlace(version.key) === samePlace(key) && version.etag === etag
        if (!same || known.has(found)) continue
        known.add(found)
        this.uploads.push({ ...upload, key, versionId: version.versionId, etag, answered: false })
      }
      this.#unanswered.shift()
    }
  }

  async #run(plan: Plan): Promise<void> {
    let last: Upload | undefined
    for (const step of plan) {
      if ('remove' in step) {
        if (last !== undefined) await this.#remove(last, step.remove)
      } else last = await this.#put(step)
    }
  }

  async #put(planned: PlannedPut): Promise<Upload | undefined> {
    const bytes = planned.bytes()
    let tags = planned.tags ?? {}
    const deadline = performance.now() + patienceMs
    for (let attempt = 0; ;) {
      // Another key each time: the one before may have been taken without an answer.
      const key = `${this.prefix}${planned.name}${attempt === 0 ? '' : `~${attempt}`}`
      const facts = {
        size: bytes.length,
        sha256: sha256(bytes),
        expected: planned.expected,
        tags: withoutLies(tags),
        deleted: false,
        what: planned.what,
      }
      try {
        const { versionId, etag } = await answered(this.#options.uploader.put(key, bytes, tags))
        const upload: Upload = { ...facts, key, versionId, etag, answered: true }
        this.uploads.push(upload)
        return upload
      } catch (error) {
        const code = errorCode(error) ?? ''
        if (refusals.has(code)) return undefined
        if (code === 'AccessDenied' && 'scanned' in tags) {
          tags = withoutLies(tags)
          continue
        }
        this.refused++
        attempt++
        this.#unanswered.push({ key, md5: md5(bytes), upload: { ...facts, answered: false } })
        if (performance.now() > deadline) throw error
        await pause(250)
      }
    }
  }

  async #remove(upload: Upload, how: 'version' | 'marker'): Promise<void> {
    // Before the request: it may be carried out without an answer.
    if (how === 'version') upload.deleted = true
    const { client, bucket } = this.#options.uploader
    const { versionId } = upload
    const exact = how === 'version' && versionId !== undefined ? { versionId } : {}
    await eventually(() => answered(client.removeObject(bucket, upload.key, exact)), {
      timeoutMs: patienceMs,
      everyMs: 250,
    })
  }
}

function withoutLies(tags: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(tags).filter(([key]) => !key.startsWith('scanned')))
}

async function answered<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error('the store does not answer')), answerMs)
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
