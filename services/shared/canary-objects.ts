// The objects with which the pipeline tries itself, and how to tell them from what somebody else puts under their prefix.
import { createHash } from 'node:crypto'
import { eicar } from './test-signatures.ts'

/** Nobody but the canary's identity and the reconciler may write below it, where the store can keep others away. */
export const canaryPrefix = 'avscan-canary/'

/** Keys of the reconciler, which looks each minute. */
export function reconcilerCanary(id: string): string {
  return `${canaryPrefix}reconciler/${id}.txt`
}

/** Keys of deploy and smoke. */
export function smokeCanary(id: string, kind: 'eicar' | 'clean'): string {
  return `${canaryPrefix}${id}/${kind}.txt`
}

/** Key of `init`'s question whether a bucket honours If-Match. */
export function probeCanary(id: string): string {
  return `${canaryPrefix}if-match-${id}`
}

const uuid = String.raw`[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}`
const ours = new RegExp(
  String.raw`^${canaryPrefix}(?:reconciler/${uuid}\.txt|${uuid}/(?:eicar|clean)\.txt|if-match-${uuid})$`,
)

/** @throws Error for a key that is none of ours */
export function canaryContent(key: string): Buffer {
  if (!ours.test(key)) throw new Error(`${key} is no canary's key`)
  return key.endsWith('/eicar.txt') ? eicar() : Buffer.from(`canary ${key}\n`)
}

/**
 * Whether an object is a canary, by name and content: `hash` is of its bytes, a sha256 or, as stores give it as ETag, an md5. Others
 * can put objects under the prefix, and what is found in those is news.
 */
export function isCanary(key: string, hash: { sha256: string } | { md5: string }): boolean {
  if (!ours.test(key)) return false
  const [[algorithm, value]] = Object.entries(hash) as [[string, string]]
  return createHash(algorithm).update(canaryContent(key)).digest('hex') === value
}
