// Whether a "clean" covers everything that is in an object: what it contains is compared with what the engines open.
import type { Finding, Judge } from '../engines/engine.ts'
import { toError } from '../../shared/errors.ts'
import type { Abilities } from './abilities.ts'
import { isPlain, look } from './look.ts'
import { defaultLimits, formatReasons, Seen, type Need } from './seen.ts'
import { held, type Source } from './source.ts'

/** For one object, however it is made. */
const deadlineMs = 60_000
/** A verdict is a message, not a list of files. */
const mostDetails = 5

type Asked = Pick<Abilities, 'unopened'> & Partial<Pick<Abilities, 'scan'>>

export class Containers {
  readonly #abilities: Asked
  readonly #deadlineMs: number

  constructor(abilities: Asked, options: { deadlineMs?: number } = {}) {
    this.#abilities = abilities
    this.#deadlineMs = options.deadlineMs ?? deadlineMs
  }

  /**
   * Why the engines behind `judges`, which all called it clean, cannot have seen everything; empty when they have.
   * @throws what a scan throws: then nothing is known.
   */
  async inspect(
    received: Source,
    name: string,
    judges: readonly Judge[],
    signal: AbortSignal,
    contentEncoding = '',
  ): Promise<Finding[]> {
    const source = await held(received)
    if (await isPlain(source, name, contentEncoding, signal)) return []
    const found: Finding[] = []
    const seen = await this.#look(source, name, judges, found, signal, contentEncoding)
    const needs = [...seen.needs.values()]
    const unopened = await this.#unopened(needs, judges, signal)
    const who = judges.map(({ name: engine, info }) => `${engine} ${info.engineVersion}`).join(', ')
    return [
      ...found,
      ...[
        ...unopened.map(({ format, what, where }) => ({
          reason: formatReasons.unsupported,
          format,
          detail: `${what}${where}: ${who} does not open it`,
        })),
        ...seen.problems,
      ]
        .slice(0, mostDetails)
        .map((problem): Finding => ({ status: 'unscannable', ...problem })),
    ]
  }

  async #look(
    source: Source,
    name: string,
    judges: readonly Judge[],
    found: Finding[],
    signal: AbortSignal,
    contentEncoding: string,
  ): Promise<Seen> {
    const late = AbortSignal.timeout(this.#deadlineMs)
    // An engine that does not answer is no problem of the object.
    const unanswered = new AbortController()
    const either = AbortSignal.any([signal, late, unanswered.signal])
    const seen = new Seen(either, defaultLimits, this.#judge(judges, found, either, unanswered))
    const over = Promise.withResolvers<never>()
    const end = () => over.reject(toError(seen.signal.reason))
    seen.signal.addEventListener('abort', end)
    try {
      // Whoever waits for what never comes does not look at the signal.
      await Promise.race([look(source, name, seen, contentEncoding), over.promise])
    } catch (error) {
      signal.throwIfAborted()
      if (!late.aborted) throw toError(error)
      const detail = `looking inside took longer than ${this.#deadlineMs / 1000} s`
      seen.problem({ reason: formatReasons.tookTooLong, format: 'other', detail })
    } finally {
      seen.signal.removeEventListener('abort', end)
    }
    return seen
  }

  /** Undefined where the engines cannot be asked. */
  #judge(
    judges: readonly Judge[],
    found: Finding[],
    signal: AbortSignal,
    unanswered: AbortController,
  ): Seen['judge'] {
    if (this.#abilities.scan === undefined) return undefined
    return async (bytes, where) => {
      for (const judge of judges) {
        const finding = await this.#scan(judge, bytes, signal, unanswered)
        if (finding === undefined || finding.status === 'clean') continue
        if (found.filter(({ status }) => status === finding.status).length === mostDetails) continue
        found.push(
          finding.status === 'unscannable'
            ? { ...finding, detail: `what was unpacked${where}: ${finding.detail}` }
            : finding,
        )
      }
    }
  }

  async #scan(
    judge: Judge,
    bytes: Buffer,
    signal: AbortSignal,
    unanswered: AbortController,
  ): Promise<Finding | undefined> {
    try {
      return await this.#abilities.scan?.(judge, bytes, signal)
    } catch (error) {
      unanswered.abort(error)
      throw error
    }
  }

  /** What none of the engines opens. */
  async #unopened(
    needs: readonly Need[],
    judges: readonly Judge[],
    signal: AbortSignal,
  ): Promise<Need[]> {
    let left = [...needs]
    for (const judge of judges) {
      const kinds = left.map(({ kind }) => kind)
      const unopened = await this.#abilities.unopened(judge, kinds, signal)
      left = left.filter(({ kind }) => unopened.has(kind))
    }
    return left
  }
}
