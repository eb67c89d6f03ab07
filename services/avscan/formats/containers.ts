// Whether a "clean" covers everything that is in an object: what it contains is compared with what the engines open.
import type { Finding, Judge } from '../engines/engine.ts'
import { toError } from '../../shared/errors.ts'
import type { Abilities } from './abilities.ts'
import { isPlain, look } from './look.ts'
import { formatReasons, Seen, type Need } from './seen.ts'
import type { Source } from './source.ts'

/** For one object, however it is made. */
const deadlineMs = 60_000
/** A verdict is a message, not a list of files. */
const mostDetails = 5

export class Containers {
  readonly #abilities: Pick<Abilities, 'unopened'>
  readonly #deadlineMs: number

  constructor(abilities: Pick<Abilities, 'unopened'>, options: { deadlineMs?: number } = {}) {
    this.#abilities = abilities
    this.#deadlineMs = options.deadlineMs ?? deadlineMs
  }

  /**
   * Why the engines behind `judges`, which all called it clean, cannot have seen everything; empty when they have.
   * @throws what a scan throws: then nothing is known.
   */
  async inspect(
    source: Source,
    name: string,
    judges: readonly Judge[],
    signal: AbortSignal,
  ): Promise<Finding[]> {
    if (await isPlain(source, name)) return []
    const seen = await this.#look(source, name, signal)
    const needs = [...seen.needs.values()]
    const unopened = await this.#unopened(needs, judges, signal)
    const who = judges.map(({ name: engine, info }) => `${engine} ${info.engineVersion}`).join(', ')
    return [
      ...unopened.map(({ format, what, where }) => ({
        reason: formatReasons.unsupported,
        format,
        detail: `${what}${where}: ${who} does not open it`,
      })),
      ...seen.problems,
    ]
      .slice(0, mostDetails)
      .map((problem): Finding => ({ status: 'unscannable', ...problem }))
  }

  async #look(source: Source, name: string, signal: AbortSignal): Promise<Seen> {
    const late = AbortSignal.timeout(this.#deadlineMs)
    const seen = new Seen(AbortSignal.any([signal, late]))
    const over = Promise.withResolvers<never>()
    const end = () => over.reject(toError(seen.signal.reason))
    seen.signal.addEventListener('abort', end)
    try {
      // Whoever waits for what never comes does not look at the signal.
      await Promise.race([look(source, name, seen), over.promise])
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
