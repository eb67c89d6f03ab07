// Mails: the parts that are packed as base64.
import type { Seen } from './seen.ts'
import type { Source } from './source.ts'

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
      seen.member(depth)
      const blank = /\r?\n\r?\n/g
      blank.lastIndex = index
      if (blank.exec(text) === null) continue
      const stop = text.indexOf('\n--', blank.lastIndex - 1)
      const bytes = Buffer.from(
        text.slice(blank.lastIndex, stop < 0 ? text.length : stop),
        'base64',
      )
      seen.unpacked(bytes.length)
      const headers = text.slice(Math.max(0, index - 1024), blank.lastIndex)
      const name = [...headers.matchAll(/name\*?="?([^"\r\n;]{1,100})/gi)].at(-1)?.[1]
      await attachment({ name: name ?? 'an attachment', bytes })
    }
  })
}
