// How mails pack what is no text, besides base64.

export function quotedPrintable(text: string): Buffer {
  const plain = text
    .split('\n')
    // Blanks at the end of a line were not written by the sender.
    .map((line) => line.trimEnd())
    .join('\n')
    .replaceAll('=\n', '')
    .replaceAll(/=([\dA-Fa-f]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    )
  return Buffer.from(plain, 'latin1')
}

/** The lines between `begin` and `end`; what is no such line is passed. */
export function uudecoded(text: string): Buffer {
  const parts: Buffer[] = []
  const begin = /^begin(?:-\w+)? [0-7]{3,4} [^\n]*\n/m.exec(text)
  if (begin === null) return Buffer.alloc(0)
  for (const line of text.slice(begin.index + begin[0].length).split(/\r?\n/)) {
    if (line === 'end') break
    parts.push(uuLine(line))
  }
  return Buffer.concat(parts)
}

function uuLine(line: string): Buffer {
  const six = (at: number) => (line.charCodeAt(at) - 32) & 0x3f
  const size = line === '' ? 0 : six(0)
  const bytes = Buffer.alloc(size + 2)
  // A blank at the end of a line may be lost on the way.
  const at4 = (at: number) => (at < line.length ? six(at) : 0)
  for (let [at, out] = [1, 0]; out < size; at += 4, out += 3) {
    const [a, b, c, d] = [at4(at), at4(at + 1), at4(at + 2), at4(at + 3)]
    bytes[out] = (a << 2) | (b >> 4)
    bytes[out + 1] = (b << 4) | (c >> 2)
    bytes[out + 2] = (c << 6) | d
  }
  return bytes.subarray(0, size)
}
