// Mails: the parts that are packed as base64.
import { setImmediate } from 'node:timers/promises'
import type { Seen } from './seen.ts'
import type { Source } from './source.ts'

/** Of one part, behind what says that it is base64. */
const longestHeaders = 8 * 1024

export interface Attachment {
  name: string
  bytes: Buffer
}

/** Calls `attachment` with each part, unpacked. @throws CannotLookError */
export async function lookIntoMail(
  source: Source,
  seen: Seen,
  where: string,
  depth: number,
  attachment: (attachment: Attachment) => Promise<void>,
): Promise<void> {
  seen.need({ format: 'mail', kind: 'mail', what: 'mail', where })
  await seen.holding(source.size * 2, async () => {
    const text = (await source.read(0, source.size)).toString('latin1')
    for (const { index } of text.matchAll(/^content-transfer-encoding:\s*"?base64/gim)) {
      await seen.member(depth)
      // Each may be as long as the whole mail.
      await setImmediate()
      const rest = text.slice(index, index + longestHeaders)
      const blank = /\r?\n\r?\n/.exec(rest)
      if (blank === null) continue
      const begin = index + blank.index + blank[0].length
      const stop = text.indexOf('\n--', begin - 1)
      const bytes = Buffer.from(text.slice(begin, stop < 0 ? text.length : stop), 'base64')
      seen.unpacked(bytes.length)
      const headers = text.slice(Math.max(0, index - 1024), begin)
      const name = [...headers.matchAll(/name\*?="?([^"\r\n;]{1,100})/gi)].at(-1)?.[1]
      await attachment({ name: name ?? 'an attachment', bytes })
    }
  })
}
