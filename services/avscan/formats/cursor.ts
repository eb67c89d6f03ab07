// Goes once through bytes that only come in order.

export class Cursor {
  readonly #chunks: AsyncIterator<Buffer>
  #held: Buffer = Buffer.alloc(0)
  #position = 0

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  get position(): number {
    return this.#position
  }

  /** The next bytes without passing them; fewer only at the end. */
  async peek(length: number): Promise<Buffer> {
    const parts = [this.#held]
    let size = this.#held.length
    while (size < length) {
      const next = await this.#chunks.next()
      if (next.done === true) break
      parts.push(next.value)
      size += next.value.length
    }
    this.#held = parts.length === 1 ? this.#held : Buffer.concat(parts)
    return this.#held.subarray(0, length)
  }

  /** The next bytes; fewer only at the end. */
  async take(length: number): Promise<Buffer> {
    const bytes = await this.peek(length)
    this.#held = this.#held.subarray(bytes.length)
    this.#position += bytes.length
    return bytes
  }

  /** False when the end came first. */
  async skip(length: number): Promise<boolean> {
    for (let left = length; left > 0;) {
      const passed = (await this.take(Math.min(left, this.#held.length || 1))).length
      if (passed === 0) return false
      left -= passed
    }
    return true
  }

  /** The next bytes piece by piece; fewer only at the end. */
  async *next(length: number): AsyncGenerator<Buffer> {
    for (let left = length; left > 0;) {
      const chunk = await this.take(Math.min(left, this.#held.length || 1))
      if (chunk.length === 0) return
      left -= chunk.length
      yield chunk
    }
  }

  async *rest(): AsyncGenerator<Buffer> {
    for (;;) {
      const chunk = await this.take(this.#held.length || 1)
      if (chunk.length === 0) return
      yield chunk
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.()
  }
}
