// 7z: its header is itself packed, so 7-Zip reads it, in a thread that may take only so long and so much memory.
import { Worker } from 'node:worker_threads'
import { formatReasons, damaged, type Seen } from './seen.ts'
import type { Source } from './source.ts'

/** What the thread is given: a file of its own, or the bytes. */
export interface SevenZipInput {
  path?: string
  bytes?: Uint8Array
}

const deadlineMs = 10_000
let running: Promise<unknown> = Promise.resolve()

/** @throws CannotLookError */
export async function lookInto7z(source: Source, seen: Seen, where: string): Promise<void> {
  const lines =
    source.path === undefined
      ? await seen.holding(source.size, async () =>
          list({ bytes: await source.read(0, source.size) }, seen.signal),
        )
      : await list({ path: source.path }, seen.signal)
  if (lines.some((line) => /encrypted|password/i.test(line) && !line.startsWith('Encrypted = -'))) {
    const detail = `7z${where}: it is encrypted`
    seen.problem({ reason: formatReasons.encryptedArchive, format: '7z', detail })
    return
  }
  const error = lines.find((line) => /^(?:ERRORS?:|Errors: [1-9])/.test(line))
  if (error !== undefined || !lines.includes('----------'))
    throw damaged('7-Zip cannot read its directory')
  for (const line of lines)
    for (const coder of /^Method = (.+)$/.exec(line)?.[1]?.split(' ') ?? []) {
      const method = coder.replace(/:.*/, '')
      seen.need({ format: '7z', kind: `7z:${method}`, what: `7z with method ${method}`, where })
    }
}

/** One at a time: each may take its memory. */
function list(input: SevenZipInput, signal: AbortSignal): Promise<string[]> {
  const next = running.then(() => listNow(input, signal))
  running = next.catch(() => undefined)
  return next
}

async function listNow(input: SevenZipInput, signal: AbortSignal): Promise<string[]> {
  signal.throwIfAborted()
  const worker = new Worker(new URL('seven-zip-thread.ts', import.meta.url), {
    workerData: input,
    resourceLimits: { maxOldGenerationSizeMb: 128 },
    stdout: true,
    stderr: true,
  })
  const done = Promise.withResolvers<string[]>()
  const late = setTimeout(() => {
    done.reject(damaged(`7-Zip did not read its directory within ${deadlineMs} ms`))
  }, deadlineMs)
  const aborted = () => done.reject(signal.reason as Error)
  signal.addEventListener('abort', aborted)
  worker.once('message', (lines: string[]) => done.resolve(lines))
  worker.once('error', (error) => done.reject(damaged(`7-Zip gave up: ${error.message}`)))
  worker.once('exit', () => done.reject(damaged('7-Zip gave up')))
  try {
    return await done.promise
  } finally {
    clearTimeout(late)
    signal.removeEventListener('abort', aborted)
    await worker.terminate()
  }
}
