// The vocabulary in which a handler tells the consumer what to do with a message (see consumer.ts),
// and the one in which a service tells its operator why it cannot go on.

/** The message can never succeed (undecodable, not our schema): to `avscan.dead`, no retry. */
export class DiscardError extends Error {
  override name = 'DiscardError'
}

/** Try again after `delayMs`, or after the lane's next delay; counts as an attempt. */
export class RetryLaterError extends Error {
  override name = 'RetryLaterError'
  readonly delayMs: number | undefined
  /** false: that it has to wait is not the message's fault, and it may wait for any number of times. */
  readonly counted: boolean

  constructor(
    message: string,
    options: ErrorOptions & { delayMs?: number; counted?: boolean } = {},
  ) {
    super(message, options)
    this.delayMs = options.delayMs
    this.counted = options.counted ?? true
  }
}

/** Nothing was begun, for the process is stopping: the message stays as it is, and the broker gives it to somebody else. */
export class NotBegunError extends Error {
  override name = 'NotBegunError'
}

/** Nothing was begun, and others are not to wait behind it: the message goes to the lane for what has time. */
export class GiveWayError extends Error {
  override name = 'GiveWayError'
}

/**
 * Something everybody needs is away (engine, store, broker, disk space). The attempt is not counted:
 * the consumer pauses until its lane's probe succeeds.
 */
export class OutageError extends Error {
  override name = 'OutageError'
  /** Waited for without end: nobody can mistake one message's own trouble for it. */
  readonly endless: boolean = false
}

/** No byte of this object has reached the engine: refused, breaker open, canary failing. */
export class EngineUnavailableError extends OutageError {
  override name = 'EngineUnavailableError'
}

/** The store cannot be reached, answers 5xx or not at all. */
export class StoreUnavailableError extends OutageError {
  override name = 'StoreUnavailableError'
}

/** The scan folder has no room for the object. */
export class NoSpaceError extends OutageError {
  override name = 'NoSpaceError'
  readonly needBytes: number

  constructor(message: string, needBytes: number, options?: ErrorOptions) {
    super(message, options)
    this.needBytes = needBytes
  }
}

/** The broker did not confirm that it has taken the message. */
export class PublishError extends OutageError {
  override name: string = 'PublishError'
}

/** The broker took it and found no queue for it: there is none of that name, or nothing binds it. */
export class UnroutableError extends PublishError {
  override name = 'UnroutableError'
}

/** NoSuchKey, NoSuchVersion or a delete marker: there is nothing left to scan. */
export class ObjectGoneError extends Error {
  override name = 'ObjectGoneError'
}

/** The key holds other bytes than the job named (412 on an unversioned bucket). */
export class ObjectChangedError extends Error {
  override name = 'ObjectChangedError'
}

/** The store has the object and does not give its bytes, nor would it the next time: they are encrypted with the uploader's own key. */
export class UnreadableError extends Error {
  override name = 'UnreadableError'
  /** The store's clock at its answer. */
  readonly servedAt: Date

  constructor(message: string, servedAt: Date, options?: ErrorOptions) {
    super(message, options)
    this.servedAt = servedAt
  }
}

/** Nothing but a person can mend it: the process prints message, causes and hint, and exits 1. */
export class FatalError extends Error {
  override name = 'FatalError'
  readonly hint: string

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options)
    this.hint = hint
  }
}

/** Whatever was thrown, as an Error. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown })
}

/** The foreign code of an error or of one of its causes (`ECONNREFUSED`, `NoSuchKey`), if it has one. */
export function errorCode(thrown: unknown): string | undefined {
  let error = thrown
  // Causes can go round in a circle.
  for (let depth = 0; depth < 10 && error instanceof Error; depth++) {
    if ('code' in error && typeof error.code === 'string') return error.code
    error = error.cause ?? (error instanceof AggregateError ? error.errors[0] : undefined)
  }
  return undefined
}

/** Message and causes in one line: `scan b/k: connect to clamd: connect ECONNREFUSED …`. */
export function describeError(thrown: unknown): string {
  const parts: string[] = []
  let rest: unknown = thrown
  // A cause may be its own ancestor.
  for (let depth = 0; rest !== undefined && rest !== null && depth < 8; depth++) {
    const error = rest
    let text: string
    // The error of a host with several addresses has an empty message and the facts inside.
    if (error instanceof AggregateError && error.message === '')
      text = error.errors.map(describeError).join(', ')
    else text = error instanceof Error ? error.message || error.name : toError(error).message
    if (!parts.some((part) => part.includes(text))) parts.push(text)
    rest = error instanceof Error ? error.cause : undefined
  }
  return parts.join(': ')
}
