// A version is gone only when it is gone twice. While VersityGW deletes the current version of a key, it calls the other versions
// gone as well, until it has put the latest of them in its place.
import { setTimeout as sleep } from 'node:timers/promises'
import { ObjectGoneError } from './errors.ts'

/** Time enough for that. */
export const lookAgainMs = 100

/** Looks again when the first look says ObjectGoneError. @throws what the second look throws, and the signal's reason. */
export async function goneTwice<T>(look: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await look()
  } catch (error) {
    if (!(error instanceof ObjectGoneError)) throw error
    await sleep(lookAgainMs, undefined, signal === undefined ? {} : { signal })
    return look()
  }
}
