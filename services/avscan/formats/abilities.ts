// What the engines open. It is written down nowhere but asked, of each engine under each version and signature set: a format
// with its method is opened when the EICAR test file was found in its fixture.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Engine, Finding, Judge } from '../engines/engine.ts'
import { RetryLaterError, toError } from '../../shared/errors.ts'
import type { Log } from '../../shared/log.ts'
import { everydayKinds, fixtureOf } from './fixtures.ts'

/** Addresses of an engine may be of different versions, and any of them answers. */
const tries = 5
/** Versions that are remembered. */
const mostVersions = 8
const chunkBytes = 256 * 1024
const busyPauseMs = 200

export class Abilities {
  readonly #engines: readonly Engine[]
  readonly #log: Log
  readonly #isBusy: () => boolean
  readonly #opens = new Map<string, Map<string, boolean>>()
  readonly #asking = new Map<string, Promise<void>>()
  #refreshing: Promise<void> | undefined

  /**
   * `engines`: each of those that a finding may come from, by its name. `isBusy`: whether anything is scanned at the moment; what is
   * asked ahead does not take the engine's time from it.
   */
  constructor(engines: readonly Engine[], log: Log, isBusy: () => boolean = () => false) {
    this.#engines = engines
    this.#log = log
    this.#isBusy = isBusy
  }

  /**
   * Those of `kinds` that the engine behind `by` does not open, asking it what is not known yet.
   * @throws RetryLaterError when it is not there any more, and what a scan throws.
   */
  async unopened(by: Judge, kinds: readonly string[], signal: AbortSignal): Promise<Set<string>> {
    const unopened = new Set<string>()
    for (const kind of kinds) if (!(await this.#opensKind(by, kind, signal))) unopened.add(kind)
    return unopened
  }

  /**
   * What the engine behind `by` finds in `bytes` that came out of what it does not open.
   * @throws RetryLaterError when it is not there any more, and what a scan throws.
   */
  async scan(by: Judge, bytes: Buffer, signal: AbortSignal): Promise<Finding> {
    for (let left = tries; left > 0; left--) {
      const answer = await this.#send(by.name, bytes, signal)
      if (nameOf(answer.by) === nameOf(by)) return answer.finding
    }
    throw new RetryLaterError(`${nameOf(by)} is not there any more to judge what was unpacked`, {
      delayMs: 1_000,
    })
  }

  /** Asks what people use every day, so that no scan has to wait for it; never throws. */
  refresh(signal: AbortSignal): Promise<void> {
    this.#refreshing ??= this.#refresh(signal).finally(() => (this.#refreshing = undefined))
    return this.#refreshing
  }

  async #refresh(signal: AbortSignal): Promise<void> {
    for (const engine of this.#engines) await this.#askAhead(engine, signal)
  }

  async #askAhead(engine: Engine, signal: AbortSignal): Promise<void> {
    const { name, info } = engine
    if (info === undefined) return
    const by = { name, info }
    const kinds = everydayKinds()
    if (kinds.every((kind) => this.#known(by, kind) !== undefined)) return
    const unopened: string[] = []
    try {
      for (const kind of kinds) {
        while (this.#isBusy()) await sleep(busyPauseMs, undefined, { signal, ref: false })
        // One that is only being tried again has its few places for scans.
        if (engine.addresses.some(({ breaker }) => breaker !== 'closed')) return
        if (!(await this.#opensKind(by, kind, signal))) unopened.push(kind)
      }
      this.#log.info('asked the engine which containers it opens', {
        engine: name,
        engineVersion: info.engineVersion,
        opened: kinds.length - unopened.length,
        unopened,
      })
    } catch (error) {
      // A scan that needs to know asks again.
      this.#log.debug('the engine could not be asked which containers it opens', {
        engine: name,
        error: toError(error),
      })
    }
  }

  async #opensKind(by: Judge, kind: string, signal: AbortSignal): Promise<boolean> {
    const fixture = fixtureOf(kind)
    if (fixture === undefined) return false
    for (let left = tries; ; left--) {
      const known = this.#known(by, kind)
      if (known !== undefined) return known
      if (left === 0)
        throw new RetryLaterError(`${nameOf(by)} is not there any more to be asked about ${kind}`, {
          delayMs: 1_000,
        })
      await this.#ask(by.name, kind, fixture, signal)
    }
  }

  #known(by: Judge, kind: string): boolean | undefined {
    return this.#opens.get(nameOf(by))?.get(kind)
  }

  /** Those who ask the same at the same time share the answer. */
  #ask(name: string, kind: string, fixture: Buffer, signal: AbortSignal): Promise<void> {
    const what = `${name} ${kind}`
    const asking =
      this.#asking.get(what) ??
      this.#askNow(name, kind, fixture, signal).finally(() => this.#asking.delete(what))
    this.#asking.set(what, asking)
    return asking
  }

  async #askNow(name: string, kind: string, fixture: Buffer, signal: AbortSignal): Promise<void> {
    const { by, finding } = await this.#send(name, fixture, signal)
    this.#learn(by, kind, finding.status === 'infected')
  }

  async #send(
    name: string,
    bytes: Buffer,
    signal: AbortSignal,
  ): Promise<{ by: Judge; finding: Finding }> {
    const engine = this.#engines.find((one) => one.name === name)
    if (engine === undefined) throw new Error(`there is no engine ${name} to be asked`)
    const stream = await engine.open(bytes.length, signal)
    try {
      for (let at = 0; at < bytes.length; at += chunkBytes)
        await stream.write(bytes.subarray(at, at + chunkBytes))
      return { by: stream.by, finding: await stream.end() }
    } catch (error) {
      stream.abort(toError(error))
      throw error
    }
  }

  #learn(by: Judge, kind: string, opens: boolean): void {
    const name = nameOf(by)
    const kinds = this.#opens.get(name) ?? new Map<string, boolean>()
    kinds.set(kind, opens)
    this.#opens.set(name, kinds)
    const [oldest] = this.#opens.keys()
    if (this.#opens.size > mostVersions && oldest !== undefined) this.#opens.delete(oldest)
  }
}

function nameOf({ name, info }: Judge): string {
  return `${name} ${info.engineVersion} with signatures ${info.signatureVersion}`
}
