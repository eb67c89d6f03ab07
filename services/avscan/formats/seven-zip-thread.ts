// Runs in a thread of its own: lists one 7z archive.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import sevenZip from '7z-wasm'
import { withMemoryLimit } from './wasm-memory.ts'
import type { SevenZipInput } from './seven-zip.ts'

// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const { path, bytes } = workerData as SevenZipInput
/** Far more than any archive with as many members as clamd opens has. */
const mostLines = 2_000_000

const lines: string[] = []
const take = (line: string) => {
  if (lines.length >= mostLines) throw new Error('its list is too long')
  if (/^(?:Method|Encrypted) = |^-{10}$|ERROR|Errors|[Pp]assword/.test(line)) lines.push(line)
}
const module = createRequire(import.meta.url).resolve('7z-wasm/7zz.wasm')
const instance = await sevenZip.default({
  wasmBinary: withMemoryLimit(readFileSync(module)).buffer,
  print: take,
  printErr: take,
})
const { FS, NODEFS } = instance
let name = '/archive'
if (path === undefined) FS.writeFile(name, bytes ?? new Uint8Array())
else {
  FS.mkdir('/in')
  FS.mount(NODEFS, { root: dirname(path) }, '/in')
  name = `/in/${basename(path)}`
}
// A password, so that nobody is asked for one.
instance.callMain(['l', '-slt', '-t7z', '-pnone', '--', name])
// oxlint-disable-next-line unicorn/require-post-message-target-origin
parentPort?.postMessage([...new Set(lines)])
