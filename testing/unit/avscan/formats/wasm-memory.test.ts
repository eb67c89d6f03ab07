// 7-Zip may take so much memory and no more, whatever an archive makes it ask for.
import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { withMemoryLimit } from '../../../../services/avscan/formats/wasm-memory.ts'

const wasm = readFileSync(createRequire(import.meta.url).resolve('7z-wasm/7zz.wasm'))

describe('withMemoryLimit', () => {
  it('changes the maximum of 7-Zip and nothing else', () => {
    const limited = withMemoryLimit(wasm)

    const changed = [...wasm.keys()].filter((at) => wasm[at] !== limited[at])
    expect(changed.length).to.be.within(1, 3)
    // 2048 pages of 64 KiB, in three bytes.
    const at = limited.indexOf(Buffer.from([0x80, 0x90, 0x00]))
    expect(changed.some((one) => one >= at && one < at + 3)).to.equal(true)
  })

  it('throws where there is nothing that it knows how to limit', () => {
    expect(() => withMemoryLimit(withMemoryLimit(wasm))).to.throw('no memory section')
    expect(() => withMemoryLimit(Buffer.from('\0asm\u0001\0\0\0', 'latin1'))).to.throw()
  })
})
