// ClamAV looks at the first 65,536 objects of a PDF and passes the rest without a word, and no setting changes that.
import { setImmediate } from 'node:timers/promises'
import { formatReasons, type Seen } from './seen.ts'
import { chunksOf, type Source } from './source.ts'

const most = 65_536
/** Longer than what is counted, so that nothing is missed between two chunks. */
const keptBytes = 32
/** One object by itself, or as many as a compressed stream of objects says; `#4e` is N. */
const objects = /[^d]obj|\/(?:N|#4[eE])\s*(\d{1,9})[^\d]/g

/** Counts the objects of a PDF; more than an engine sees is a problem. */
export async function countPdfObjects(source: Source, seen: Seen, where: string): Promise<void> {
  let count = 0
  let kept = ''
  for await (const chunk of chunksOf(source)) {
    // What is in memory needs no waiting, and others wait for this thread.
    await setImmediate()
    seen.signal.throwIfAborted()
    const text = kept + chunk.toString('latin1')
    for (const match of text.matchAll(objects))
      if (match.index + match[0].length > kept.length) count += Number(match[1] ?? 1)
    kept = text.slice(-keptBytes)
  }
  if (count <= most) return
  const detail = `a PDF${where} of ${count} objects, of which ClamAV looks at ${most}`
  seen.problem({ reason: formatReasons.tooManyMembers, format: 'pdf', detail })
}
