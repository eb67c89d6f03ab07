// ClamAV looks at the first 65,536 objects of a PDF and passes the rest without a word, and no setting changes that.
import { reasons, type Finding } from './engines/engine.ts'

const most = 65_536
/** How far from its start a reader looks for the header of a PDF. */
const headBytes = 1024
/** Longer than what is counted, so that nothing is missed between two chunks. */
const keptBytes = 32
/** One object by itself, or as many as a compressed stream of objects says; `#4e` is N. */
const objects = /[^d]obj|\/(?:N|#4[eE])\s*(\d{1,9})[^\d]/g

/** Counts the objects of a PDF while its bytes pass; of anything else it looks at the head only. */
export class PdfObjects {
  #head = ''
  #kept = ''
  #count = 0

  write(chunk: Buffer): void {
    if (this.#head.length < headBytes)
      this.#head += chunk.toString('latin1', 0, headBytes - this.#head.length)
    if (this.#head.length === headBytes && !this.#isPdf) return
    const text = this.#kept + chunk.toString('latin1')
    for (const match of text.matchAll(objects))
      if (match.index + match[0].length > this.#kept.length) this.#count += Number(match[1] ?? 1)
    this.#kept = text.slice(-keptBytes)
  }

  /** What an engine that found nothing has not seen; undefined when it has seen all. */
  finding(): Finding | undefined {
    if (!this.#isPdf || this.#count <= most) return undefined
    return {
      status: 'unscannable',
      reason: reasons.tooManyFiles,
      detail: `a PDF of ${this.#count} objects, of which ClamAV looks at ${most}`,
    }
  }

  get #isPdf(): boolean {
    return this.#head.includes('%PDF-')
  }
}
