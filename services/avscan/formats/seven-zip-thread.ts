// Runs in a thread of its own: lists one 7z archive after the other, each with a new 7-Zip, and answers with the lines that count.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { parentPort } from 'node:worker_threads'
import sevenZip from '7z-wasm'
import { withMemoryLimit } from './wasm-memory.ts'
import type { SevenZipInput } from './seven-zip.ts'

/** Far more than any archive with as many members as clamd opens has. */
const mostLines = 2_000_000
const wasmBinary = withMemoryLimit(
  readFileSync(createRequire(import.meta.url).resolve('7z-wasm/7zz.wasm')),
).buffer
const membersFollow = '----------'
const telling = /^(?:Method|Encrypted) = |^-{10}$|ERROR|Errors|[Pp]assword/

async function list({ path, bytes }: SevenZipInput): Promise<string[]> {
  const lines = new Set<string>()
  let count = 0
  const take = (line: string) => {
    if (++count > mostLines) throw new Error('its list is too long')
    if (!telling.test(line)) return
    // What is said of the whole archive does not tell which coders belong together.
    if (line.startsWith('Method') && !lines.has(membersFollow)) return
    lines.add(line)
  }
  const instance = await sevenZip.default({ wasmBinary, print: take, printErr: take })
  const { FS, NODEFS } = instance
  let name = '/archive'
  if (path === undefined) FS.writeFile(name, bytes ?? new Uint8Array())
  else {
    FS.mkdir('/in')
    FS.mount(NODEFS, { root: dirname(path) }, '/in')
    name = `/in/${basename(path)}`
  }
  // A password, so that nobody is asked for one.
  try {
    instance.callMain(['l', '-slt', '-t7z', '-pnone', '--', name])
  } catch (thrown) {
    throw thrown instanceof Error ? thrown : new Error('its directory cannot be read')
  }
  return [...lines]
}

parentPort?.on('message', (input: SevenZipInput) => {
  // What it rejects with ends the thread; 7-Zip itself throws numbers.
  // oxlint-disable-next-line typescript/no-floating-promises, unicorn/require-post-message-target-origin
  list(input).then((lines) => parentPort?.postMessage(lines))
})
