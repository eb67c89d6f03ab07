// Downloads one version into a temporary file and has every engine judge it while it arrives.
import { createHash } from 'node:crypto'
import { toError } from '../shared/errors.ts'
import type { OpenObject } from '../shared/object-store.ts'
import type { Engine, Finding, Judge } from './engines/engine.ts'
import type { Source } from './formats/source.ts'
import { arrived } from './network-garbage.ts'
import { chunkBytes, TempFile } from './temp-file.ts'

export interface Judgement {
  sha256: string
  bytes: number
  findings: Judged[]
  /** Why no engine has seen everything, although all of them said clean. */
  unseen: Finding[]
}

/** What of an object none of `engines`, which called it clean, can have seen. */
export type Inspect = (
  source: Source,
  engines: readonly Judge[],
  signal: AbortSignal,
) => Promise<Finding[]>

/** Waits until the engines may be asked; to be given back by calling what it resolves to. */
export type Turn = (signal: AbortSignal) => Promise<() => void>

export interface Judged {
  by: Judge
  finding: Finding
}

/**
 * Reads `object` to its end. A finding only ever comes from one complete attempt: the bytes received equal the announced
 * size, and the engine answered for all of them.
 * @throws NoSpaceError, EngineUnavailableError (no byte of it had been sent), or any error for a counted attempt.
 */
export async function judge(
  object: OpenObject,
  engines: readonly Engine[],
  folder: string,
  signal: AbortSignal,
  reached: (step: 'download' | 'scan') => void = () => {},
  inspect: Inspect = () => Promise.resolve([]),
  turn: Turn = () => Promise.resolve(() => {}),
): Promise<Judgement> {
  const stop = new AbortController()
  const abort = () => {
    const reason = toError(signal.reason)
    stop.abort(reason)
    object.body.destroy(reason)
  }
  let file: TempFile | undefined
  let giveBack: (() => void) | undefined
  try {
    signal.throwIfAborted()
    file = await TempFile.create(folder, object.size)
    signal.addEventListener('abort', abort, { once: true })
    const temp = file
    const guard = async <T>(work: Promise<T>): Promise<T> => {
      try {
        return await work
      } catch (thrown) {
        // The first failure ends all: the download, and every other engine's scan.
        const error = toError(thrown)
        temp.fail(error)
        stop.abort(error)
        object.body.destroy(error)
        throw error
      }
    }
    // The download need not wait for it.
    const turned = (async () => {
      giveBack = await turn(stop.signal)
    })()
    const feedInTurn = async (engine: Engine) => {
      await turned
      return feed(engine, temp, object.size, stop.signal, reached)
    }
    const work = [
      guard(receive(object, temp, reached)),
      ...engines.map((engine) => guard(feedInTurn(engine))),
    ] as const
    const settled = await Promise.allSettled(work)
    giveBack?.()
    if (stop.signal.aborted) throw stop.signal.reason
    const [sha256, ...judged] = settled.map((one) =>
      one.status === 'fulfilled' ? one.value : undefined,
    )
    const findings = judged as Judged[]
    const unseen = findings.every(({ finding }) => finding.status === 'clean')
      ? await inspect(
          temp.source(),
          findings.map(({ by }) => by),
          stop.signal,
        )
      : []
    return { sha256: sha256 as string, bytes: object.size, findings, unseen }
  } finally {
    giveBack?.()
    signal.removeEventListener('abort', abort)
    object.body.destroy()
    await file?.remove()
  }
}

async function receive(
  object: OpenObject,
  file: TempFile,
  reached: (step: 'download') => void,
): Promise<string> {
  const hash = createHash('sha256')
  // One for the whole object: new ones would be most of a worker's memory before V8 collects them.
  const buffer = Buffer.allocUnsafeSlow(Math.min(object.size, chunkBytes))
  let filled = 0
  let received = 0
  const flush = async () => {
    const bytes = buffer.subarray(0, filled)
    filled = 0
    hash.update(bytes)
    await file.append(bytes)
  }
  try {
    for await (const chunk of object.body as AsyncIterable<Buffer>) {
      if (received === 0) reached('download')
      received += chunk.length
      arrived(chunk.length)
      if (received > object.size) break
      for (let at = 0; at < chunk.length;) {
        const copied = chunk.copy(buffer, filled, at)
        at += copied
        filled += copied
        if (filled === buffer.length) await flush()
      }
    }
  } catch (error) {
    if (object.body.errored !== error) throw error
    throw new Error(`the download broke off after ${received} of ${object.size} bytes`, {
      cause: error,
    })
  }
  if (received !== object.size)
    throw new Error(`the store sent ${received} bytes and had announced ${object.size}`)
  if (filled > 0) await flush()
  file.end()
  return hash.digest('hex')
}

async function feed(
  engine: Engine,
  file: TempFile,
  size: number,
  signal: AbortSignal,
  reached: (step: 'scan') => void,
): Promise<Judged> {
  const stream = await engine.open(size, signal)
  try {
    for await (const chunk of file.chunks()) await stream.write(chunk)
    reached('scan')
    return { by: stream.by, finding: await stream.end() }
  } catch (error) {
    stream.abort(toError(error))
    throw error
  }
}
