// How something ends that only comes in order.
import { tailBytes } from './zip-end.ts'

export class Ending {
  readonly #parts: Buffer[] = []
  #held = 0
  #length = 0

  /** How much it was. */
  get length(): number {
    return this.#length
  }

  /** Its last `tailBytes`, or all of it. */
  get tail(): Buffer {
    return Buffer.concat(this.#parts).subarray(-tailBytes)
  }

  add(chunk: Buffer): void {
    this.#parts.push(chunk)
    this.#held += chunk.length
    this.#length += chunk.length
    for (let [first] = this.#parts; first !== undefined; [first] = this.#parts) {
      if (this.#held - first.length < tailBytes) return
      this.#parts.shift()
      this.#held -= first.length
    }
  }
}
