// What was seen in one object: which formats an engine must be able to open, and what nobody can look into. It also keeps
// count, so that an object made for it cannot keep a worker busy.
import { setImmediate } from 'node:timers/promises'
import { mostMembers } from '../../shared/clamd-conf.ts'

/** A container format with its method, as an engine is asked about it. */
export interface Need {
  /** For the metrics: `7z`. */
  format: string
  /** Names the fixture: `7z:BZip2`. */
  kind: string
  /** For people: `7z with method BZip2`. */
  what: string
  /** The first place: `in docs/a.7z`; empty for the object itself. */
  where: string
}

export interface Problem {
  reason: number
  format: string
  detail: string
}

/** Reason codes that come from the format alone. */
export const formatReasons = {
  unpackedTooLarge: 101,
  tooManyMembers: 102,
  tooDeep: 103,
  unsupported: 105,
  damaged: 106,
  encryptedArchive: 107,
  encryptedDocument: 108,
  tookTooLong: 199,
} as const

export interface Limits {
  /** Unpacked by us, in all. */
  unpackedBytes: number
  /** Unpacked and held in memory, at a time. */
  heldBytes: number
  members: number
  depth: number
}

export const defaultLimits: Limits = {
  unpackedBytes: 1024 ** 3,
  heldBytes: 64 * 1024 ** 2,
  members: mostMembers,
  depth: 8,
}

/** Looking cannot go on here; what was not looked at is not clean. */
export class CannotLookError extends Error {
  override name = 'CannotLookError'
  readonly reason: number

  constructor(reason: number, message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}

/** What is in memory needs no waiting, so that nothing else in this process would run meanwhile. */
const membersInARow = 128

/** From here on it is held for one object at a time. */
export const much = 4 * 1024 ** 2
let lastTurn: Promise<unknown> = Promise.resolve()

function inTurn<T>(action: () => Promise<T>): Promise<T> {
  const turn = lastTurn.then(action)
  lastTurn = turn.catch(() => undefined)
  return turn
}

export const damaged = (message: string) => new CannotLookError(formatReasons.damaged, message)

export class Seen {
  readonly needs = new Map<string, Need>()
  readonly problems: Problem[] = []
  readonly limits: Limits
  /** Has the engines judge what they do not open themselves; undefined: nobody can be asked. */
  readonly judge: ((bytes: Buffer, where: string) => Promise<void>) | undefined
  readonly #signal: AbortSignal
  #unpacked = 0
  #held = 0
  #hasTurn = false
  #members = 0

  constructor(signal: AbortSignal, limits: Limits = defaultLimits, judge?: Seen['judge']) {
    this.#signal = signal
    this.judge = judge
    this.limits = limits
  }

  get signal(): AbortSignal {
    return this.#signal
  }

  /** What may still be held. */
  get free(): number {
    return this.limits.heldBytes - this.#held
  }

  need(need: Need): void {
    if (!this.needs.has(need.kind)) this.needs.set(need.kind, need)
  }

  /** The first of each reason and format is enough. */
  problem(problem: Problem): void {
    const { reason, format } = problem
    if (!this.problems.some((one) => one.reason === reason && one.format === format))
      this.problems.push(problem)
  }

  /** To be awaited: between many of them others get their turn. @throws CannotLookError, or the signal's reason. */
  member(depth: number): Promise<void> | undefined {
    this.#signal.throwIfAborted()
    if (depth > this.limits.depth)
      throw new CannotLookError(
        formatReasons.tooDeep,
        `more than ${this.limits.depth} containers in each other`,
      )
    if (++this.#members > this.limits.members)
      throw new CannotLookError(
        formatReasons.tooManyMembers,
        `more than ${this.limits.members} members`,
      )
    return this.#members % membersInARow === 0 ? setImmediate() : undefined
  }

  /** @throws CannotLookError, or the signal's reason. */
  unpacked(bytes: number): void {
    this.#signal.throwIfAborted()
    this.#unpacked += bytes
    if (this.#unpacked > this.limits.unpackedBytes) throw tooMuch(this.limits.unpackedBytes)
  }

  /** Runs `use` while `bytes` are held in memory for it, much of it for one object at a time. @throws CannotLookError when that is too much. */
  async holding<T>(bytes: number, use: () => Promise<T>): Promise<T> {
    if (bytes < much || this.#hasTurn) return this.#hold(bytes, use)
    return inTurn(async () => {
      this.#hasTurn = true
      try {
        return await this.#hold(bytes, use)
      } finally {
        this.#hasTurn = false
      }
    })
  }

  async #hold<T>(bytes: number, use: () => Promise<T>): Promise<T> {
    if (this.#held + bytes > this.limits.heldBytes) throw tooMuchToHold(this.limits.heldBytes)
    this.#held += bytes
    try {
      return await use()
    } finally {
      this.#held -= bytes
    }
  }
}

export function tooMuchToHold(limit: number): CannotLookError {
  return new CannotLookError(
    formatReasons.unpackedTooLarge,
    `a packed container of more than the ${limit} bytes that are looked into`,
  )
}

function tooMuch(limit: number): CannotLookError {
  return new CannotLookError(
    formatReasons.unpackedTooLarge,
    `more than ${limit} bytes were unpacked to look inside`,
  )
}
