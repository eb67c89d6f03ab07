// The lines of a body as they come, one after another, so that a batch of any length takes the memory of its longest line.
import { StringDecoder } from 'node:string_decoder'

/**
 * MinIO takes a request head of 1 MiB; as JSON, with its escapes, and with the parts that are in it twice, it is less than this.
 */
export const longestLine = 16 * 2 ** 20

/** `tooLong` is called for each line that is left out. */
export async function* linesOf(
  body: AsyncIterable<Buffer>,
  tooLong: () => void,
  longest = longestLine,
): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  let skipping = false
  for await (const chunk of body) {
    const parts = decoder.write(chunk).split('\n')
    for (const [index, part] of parts.entries()) {
      if (!skipping) rest += part
      if (rest.length > longest) {
        tooLong()
        skipping = true
        rest = ''
      }
      if (index === parts.length - 1) continue
      if (!skipping && rest.trim() !== '') yield rest
      skipping = false
      rest = ''
    }
  }
  if (!skipping && rest.trim() !== '') yield rest
}
