// Multipart uploads that were begun with an identity of the uploader's choice: the call that ends one no longer shows it.
import type { Written } from './decide.ts'

const most = 10_000

const idOf = ({ bucket, key }: Written) => JSON.stringify([bucket, key])

export function createUploads(limit = most) {
  // By key, for the entry of the beginning has no upload id; so none can be taken out again before a restart.
  const begun = new Set<string>()
  let isFull = false
  return {
    add(written: Written): void {
      if (begun.size >= limit) isFull = true
      else begun.add(idOf(written))
    },
    /** Nobody hides one by beginning many: once there are more than can be remembered, nothing is known of any other. */
    has: (written: Written): 'begun' | 'unknown' | undefined =>
      begun.has(idOf(written)) ? 'begun' : isFull ? 'unknown' : undefined,
  }
}

export type Uploads = ReturnType<typeof createUploads>
