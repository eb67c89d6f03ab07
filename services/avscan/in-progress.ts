// The same object is not scanned twice side by side: its event may still be at work, or wait in the bulk lane, when the check
// that follows each event asks for a verdict. What this worker has in hand it knows; what takes long at another one is written
// into the records bucket, where applications cannot write, and believed only while it is renewed.
import { describeError, ObjectGoneError, RetryLaterError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import type { ObjectStore } from '../shared/object-store.ts'
import { identityHash, type Marked } from '../shared/proven.ts'

/** Most scans end sooner, and nobody has to hear of them. */
const longMs = 2_000
const renewMs = 20_000
/** As old as this it was left by a worker that died. */
const staleMs = 60_000
const againMs = 60_000

export class InProgress {
  readonly #store: Pick<ObjectStore, 'head' | 'writeText' | 'remove'>
  readonly #bucket: string
  readonly #log: Log
  readonly #here = new Set<string>()

  constructor(
    store: Pick<ObjectStore, 'head' | 'writeText' | 'remove'>,
    recordsBucket: string,
    log: Log,
  ) {
    this.#store = store
    this.#bucket = recordsBucket
    this.#log = log
  }

  /**
   * Does `work`, unless somebody is at it. `isFirst`: nobody else can be, so no worker has to be asked for.
   * @throws RetryLaterError, uncounted.
   */
  async run<T>(marked: Marked, isFirst: boolean, work: () => Promise<T>): Promise<T> {
    const key = `scanning/${identityHash(marked)}`
    if (this.#here.has(key)) throw busy()
    this.#here.add(key)
    let written: Promise<void> | undefined
    const write = () => {
      written = this.#write(key, marked)
    }
    let late: NodeJS.Timeout | undefined
    let renewing: NodeJS.Timeout | undefined
    try {
      if (!isFirst && (await this.#isElsewhere(key))) throw busy()
      // Not before: what is written is taken away at the end, and until here the record may be another worker's.
      late = setTimeout(write, longMs)
      renewing = setInterval(write, renewMs)
      return await work()
    } finally {
      clearTimeout(late)
      clearInterval(renewing)
      await written
      if (written !== undefined) await this.#remove(key)
      this.#here.delete(key)
    }
  }

  async #isElsewhere(key: string): Promise<boolean> {
    try {
      const { servedAt, lastModified } = await this.#store.head({ bucket: this.#bucket, key })
      // One of the future nobody of us has written: believed, it would postpone the scan until then.
      return Math.abs(servedAt.getTime() - lastModified.getTime()) < staleMs
    } catch (error) {
      if (error instanceof ObjectGoneError) return false
      throw error
    }
  }

  /** Without it the object may be scanned twice, which costs time and nothing else. */
  async #write(key: string, { bucket, key: name, facts }: Marked): Promise<void> {
    const { versionId } = facts
    await this.#orLog(
      this.#store.writeText(this.#bucket, key, JSON.stringify({ bucket, key: name, versionId })),
    )
  }

  async #remove(key: string): Promise<void> {
    await this.#orLog(this.#store.remove({ bucket: this.#bucket, key }))
  }

  async #orLog(action: Promise<unknown>): Promise<void> {
    try {
      await action
    } catch (error) {
      this.#log.debug('the record of a scan in progress', { error: describeError(error) })
    }
  }
}

function busy(): RetryLaterError {
  return new RetryLaterError('it is being scanned already', { delayMs: againMs, counted: false })
}
