// Jobs that mean the same versions: 300 uploads of the same bytes to one key are 300 events that name no version, and each means all
// 300 (VersityGW). Those that come while a listing is made share the next one, for what each is about is in it; the live lane has
// two of them in hand at most; and a version whose verdict this process has told is not judged again for another of them.
import { GiveWayError } from '../shared/errors.ts'
import { isOverwritable, type ObjectRef } from '../shared/messages.ts'
import type { Claim } from './turns.ts'

const rememberMs = 300_000
const mostRemembered = 10_000
/** One at work, and one that comes after it. */
const mostLive = 2

export class Alike<Listing> {
  readonly #inHand = new Map<string, number>()
  readonly #listing = new Map<string, Promise<unknown>>()
  readonly #next = new Map<string, Promise<Listing>>()
  readonly #known = new Map<string, { at: number; told: boolean }>()

  /** @throws GiveWayError when a live job comes while others of its kind are in hand: it would keep the rest of the queue from being seen. */
  async run(object: ObjectRef, lane: Claim['lane'], work: () => Promise<void>): Promise<void> {
    if (object.versionId !== undefined) return work()
    const name = nameOf(object)
    const count = this.#inHand.get(name) ?? 0
    if (lane === 'live' && count >= mostLive)
      throw new GiveWayError(
        'there are many uploads of these bytes to this key: it goes to the bulk lane',
      )
    this.#inHand.set(name, count + 1)
    try {
      await work()
    } finally {
      const left = (this.#inHand.get(name) ?? 1) - 1
      if (left === 0) this.#inHand.delete(name)
      else this.#inHand.set(name, left)
    }
  }

  /** A listing that begins now, or one that others wait for and that has not begun. */
  list(object: ObjectRef, list: () => Promise<Listing>): Promise<Listing> {
    const name = nameOf(object)
    const waitedFor = this.#next.get(name)
    if (waitedFor !== undefined) return waitedFor
    const begin = () => {
      this.#next.delete(name)
      const listing = list()
      const forget = () => {
        if (this.#listing.get(name) === over) this.#listing.delete(name)
      }
      const over = listing.then(forget, forget)
      this.#listing.set(name, over)
      return listing
    }
    const before = this.#listing.get(name)
    if (before === undefined) return begin()
    const next = before.then(begin)
    this.#next.set(name, next)
    return next
  }

  /** Whether a proof was seen a while ago. Tags that were taken away since are found by the spool check and the sweep. */
  wasProven(object: ObjectRef): boolean {
    return this.#recall(object) !== undefined
  }

  /** Whether this process has told the verdict. A proof alone does not say so: who wrote it may have died before it told. */
  wasTold(object: ObjectRef): boolean {
    return this.#recall(object)?.told === true
  }

  note(object: ObjectRef, what: 'proven' | 'told'): void {
    // Whoever may overwrite it can do so at once.
    if (isOverwritable(object.versionId)) return
    const version = versionOf(object)
    const told = what === 'told' || this.wasTold(object)
    this.#known.delete(version)
    this.#known.set(version, { at: performance.now(), told })
    const oldest = this.#known.keys().next().value
    if (this.#known.size > mostRemembered && oldest !== undefined) this.#known.delete(oldest)
  }

  #recall(object: ObjectRef): { told: boolean } | undefined {
    const known = this.#known.get(versionOf(object))
    return known !== undefined && known.at > performance.now() - rememberMs ? known : undefined
  }
}

// A listing is of one etag: others of the key are not in it.
const nameOf = ({ bucket, key, etag }: ObjectRef) => JSON.stringify([bucket, key, etag])
const versionOf = ({ bucket, key, versionId }: ObjectRef) =>
  JSON.stringify([bucket, key, versionId])
