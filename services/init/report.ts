// What init says: one line per thing, and a sum at the end. Everything it prints goes through here.
import type { Log } from '../shared/log.ts'

export const asWanted = 'already as wanted'

export interface Report {
  /** `queue s3minioqueue: created`; `outcome` is `already as wanted` when nothing was done. */
  say(thing: string, outcome: string): void
  /** Something a person should know that stops nothing. */
  warn(text: string): void
  readonly changes: number
}

export function createReport(log: Log): Report {
  let changes = 0
  return {
    say(thing, outcome) {
      if (outcome !== asWanted) changes++
      log.info(`${thing}: ${outcome}`)
    },
    warn: (text) => void log.warn(text),
    get changes() {
      return changes
    },
  }
}
