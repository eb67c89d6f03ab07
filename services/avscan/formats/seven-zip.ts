// 7z: its header is itself packed, so 7-Zip reads it, in a thread that may take only so long and so much memory.
import { Worker } from 'node:worker_threads'
import { formatReasons, damaged, type Seen } from './seen.ts'
import type { Source } from './source.ts'

/** What the thread is given: a file of its own, or the bytes. */
export interface SevenZipInput {
  path?: string
  bytes?: Uint8Array
}

const packedHeader = 0x17
const aes = Buffer.from([0x06, 0xf1, 0x07, 0x01])
const deadlineMs = 10_000
/** Its memory is given back after this. */
const idleMs = 30_000

let thread: Worker | undefined
let idle: NodeJS.Timeout | undefined
let running: Promise<unknown> = Promise.resolve()

/** @throws CannotLookError */
export async function lookInto7z(source: Source, seen: Seen, where: string): Promise<void> {
  const encrypted = () =>
    seen.problem({
      reason: formatReasons.encryptedArchive,
      format: '7z',
      detail: `7z${where}: it is encrypted`,
    })
  // 7-Zip wants a password for such a header, and ends without a word.
  if ((await headerOf(source)).includes(aes)) return encrypted()
  const lines =
    source.path === undefined
      ? await seen.holding(source.size, async () =>
          list({ bytes: await source.read(0, source.size) }, seen.signal),
        )
      : await list({ path: source.path }, seen.signal)
  if (lines.includes('Encrypted = +')) return encrypted()
  const error = lines.find((line) => /^(?:ERRORS?:|Errors: [1-9])/.test(line))
  if (error !== undefined || !lines.includes('----------'))
    throw damaged('7-Zip cannot read its directory')
  for (const line of lines) {
    // All coders of a member together: an engine that opens each of them need not open the chain.
    const chain = /^Method = (.+)$/.exec(line)?.[1]?.replaceAll(/:\S*/g, '').replaceAll(' ', '+')
    if (chain !== undefined)
      seen.need({ format: '7z', kind: `7z:${chain}`, what: `7z with method ${chain}`, where })
  }
}

/** The header as it lies there; packed, it is a short one that says how. */
async function headerOf(source: Source): Promise<Buffer> {
  const start = await source.read(0, 32)
  if (start.length < 32) throw damaged('it is cut')
  const [at, size] = [start.readBigUInt64LE(12), start.readBigUInt64LE(20)]
  if (32n + at + size > BigInt(source.size)) throw damaged('it is cut')
  const header = await source.read(32 + Number(at), Math.min(Number(size), 64 * 1024))
  return header[0] === packedHeader ? header : Buffer.alloc(0)
}

/** One at a time: each may take its memory. */
function list(input: SevenZipInput, signal: AbortSignal): Promise<string[]> {
  const next = running.then(() => listNow(input, signal))
  running = next.catch(() => undefined)
  return next
}

async function listNow(input: SevenZipInput, signal: AbortSignal): Promise<string[]> {
  signal.throwIfAborted()
  clearTimeout(idle)
  const worker = (thread ??= start())
  const done = Promise.withResolvers<string[]>()
  const late = setTimeout(
    () => done.reject(damaged(`7-Zip did not read its directory within ${deadlineMs} ms`)),
    deadlineMs,
  )
  const aborted = () => done.reject(signal.reason as Error)
  const gaveUp = (why?: Error) =>
    done.reject(damaged(`7-Zip gave up${why instanceof Error ? `: ${why.message}` : ''}`))
  signal.addEventListener('abort', aborted)
  worker.once('message', done.resolve).once('error', gaveUp).once('exit', gaveUp)
  try {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    worker.postMessage(input)
    const lines = await done.promise
    idle = setTimeout(() => void stop(), idleMs).unref()
    return lines
  } catch (error) {
    await stop()
    throw error
  } finally {
    clearTimeout(late)
    signal.removeEventListener('abort', aborted)
    worker.off('message', done.resolve).off('error', gaveUp).off('exit', gaveUp)
  }
}

/** With no standard output of ours: an archive has nothing to say there. */
function start(): Worker {
  const worker = new Worker(new URL('seven-zip-thread.ts', import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: 128 },
    stdout: true,
    stderr: true,
  })
  worker.unref()
  // One that dies between two archives is not missed.
  worker.on('error', () => undefined)
  worker.once('exit', () => {
    if (thread === worker) thread = undefined
  })
  return worker
}

async function stop(): Promise<void> {
  const worker = thread
  thread = undefined
  await worker?.terminate()
}
