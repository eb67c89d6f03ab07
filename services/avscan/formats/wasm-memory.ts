// How much memory a WebAssembly module may take is written in it.

/** In pages of 64 KiB: 128 MiB. */
const mostPages = 2048
const memorySection = 5

/** A copy of `module` that may take 128 MiB. @throws Error when it is built otherwise than expected. */
export function withMemoryLimit(module: Buffer): Buffer<ArrayBuffer> {
  const limited = Buffer.from(module)
  let at = 8
  const number = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = limited[at++] ?? 0
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
  }
  while (at < limited.length) {
    const id = limited[at++]
    const bytes = number()
    if (id !== memorySection) {
      at += bytes
      continue
    }
    // One memory, with a maximum, and how much it begins with.
    const [count, flags] = [number(), number()]
    number()
    const place = at
    const pages = number()
    if (count !== 1 || flags !== 1 || pages <= mostPages || at - place !== 3) break
    limited.set(
      [(mostPages & 0x7f) | 0x80, ((mostPages >> 7) & 0x7f) | 0x80, mostPages >> 14],
      place,
    )
    return limited
  }
  throw new Error('the WebAssembly module has no memory section of the kind that is known')
}
