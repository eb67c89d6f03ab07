// Mails: the parts that are packed as base64.
import { setImmediate } from 'node:timers/promises'
import type { Seen } from './seen.ts'
import { rangeOf, type Source } from './source.ts'

/** Of one part, behind what says that it is base64. */
const longestHeaders = 8 * 1024
/** More is read in pieces, where it can be parted. */
const pieceBytes = 16 * 1024 ** 2

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
  for await (const piece of piecesOf(source, seen))
    await lookIntoPiece(piece, seen, depth, attachment)
}

async function lookIntoPiece(
  source: Source,
  seen: Seen,
  depth: number,
  attachment: (attachment: Attachment) => Promise<void>,
): Promise<void> {
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

/** A mailbox by several mails at a time; what has no parts in it is left out. */
async function* piecesOf(source: Source, seen: Seen): AsyncGenerator<Source> {
  const most = Math.min(pieceBytes, Math.floor(seen.limits.heldBytes / 4))
  const isBox = (await source.read(0, 5)).toString('latin1') === 'From '
  let at = 0
  while (source.size - at > most) {
    const [cut, hasParts] = await seen.holding(most * 2, async () => {
      const text = (await source.read(at, most)).toString('latin1')
      return parts.test(text) ? [isBox ? cutIn(text) : 0, true] : [endOfLines(text), false]
    })
    if (cut === 0) break
    if (hasParts) yield rangeOf(source, at, cut)
    at += cut
    seen.signal.throwIfAborted()
    await setImmediate()
  }
  yield rangeOf(source, at, source.size - at)
}

const parts = /content-transfer-encoding|boundary\S{0,3}[ \t]*=/i
const longestLine = 1024

/** The last line may go on in the next piece. */
function endOfLines(text: string): number {
  return text.lastIndexOf('\n') + 1 || text.length - longestLine
}

/** Where the last mail begins, but never within an attachment; 0 when none does. */
function cutIn(text: string): number {
  const marks =
    /^content-transfer-encoding:\s*"?base64|\n--|\n\r?\nFrom \S(?=[^\n]{0,1000}\n[\w-]{1,100}:)/gim
  let cut = 0
  let isOpen = false
  for (const { index, 0: mark } of text.matchAll(marks))
    if (mark === '\n--') isOpen = false
    else if (!mark.startsWith('\n')) isOpen = true
    else if (!isOpen && mark.includes('From ')) cut = index + mark.indexOf('From ')
  return cut
}
