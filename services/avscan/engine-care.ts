// Looks after the engines while the worker runs: a canary through every address at an interval and after each change of
// signatures, also while there is nothing to scan; the scan lanes stopped at once when no engine can be used; and the news
// that others act on: new signatures, and what to look for once an outage is over.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Engine, EngineEvents } from './engines/engine.ts'
import type { Engines } from './engines/create.ts'
import type { EngineNews } from './engine-news.ts'
import type { Abilities } from './formats/abilities.ts'
import type { Metrics } from './metrics.ts'
import type { Config } from '../shared/config-schema.ts'
import type { Consumer } from '../shared/consumer.ts'
import { describeError, EngineUnavailableError, toError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import { bulkQueue } from '../shared/topology.ts'

/** Signatures change at several addresses one after the other: looked at once they have settled. */
const settleMs = 1_000

export interface Running {
  engines: Engines
  consumer: Pick<Consumer, 'pause'>
  news: EngineNews
  abilities: Pick<Abilities, 'refresh'>
  signal: AbortSignal
}

export class EngineCare implements EngineEvents {
  readonly #config: Config
  readonly #metrics: Metrics
  readonly #log: Log
  readonly #down = new Map<string, Error>()
  #running: Running | undefined
  #isDue = false
  #wake: () => void = () => undefined
  #isChecking = false

  constructor(config: Config, metrics: Metrics, log: Log) {
    this.#config = config
    this.#metrics = metrics
    this.#log = log
  }

  /** Why new objects are let pass unscanned now; undefined: they are scanned, or wait. */
  passing(judge: Engine): Error | undefined {
    return this.#config.engine.outage === 'pass-unscanned' ? judge.outage : undefined
  }

  /** For whoever waits for the engine: no failure where nobody has to wait. @throws `error` otherwise. */
  passOr(error: unknown, judge: Engine): void {
    if (this.passing(judge) === undefined) throw error
  }

  failed(engine: string): void {
    this.#metrics.engineFailures.inc({ engine })
  }

  down(engine: string, error: Error): void {
    this.#down.set(engine, error)
    this.#stop()
  }

  up(engine: string): void {
    this.#down.delete(engine)
    void this.#tell()
  }

  signatures(): void {
    // A check's own findings are told at its end.
    if (this.#isChecking) return
    this.#isDue = true
    this.#wake()
  }

  /** Checks until `signal` aborts; from now on outages stop the lanes. */
  run(running: Running): void {
    this.#running = running
    this.#stop()
    void this.#run(running)
  }

  async #run({ engines, signal }: Running): Promise<void> {
    await this.#tell()
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => (this.#wake = resolve))
      if (!this.#isDue) await Promise.race([woken, pause(this.#config.canary.intervalMs, signal)])
      if (this.#isDue) await pause(settleMs, signal)
      this.#isDue = false
      if (signal.aborted) return
      await this.#check(engines.judge, signal)
    }
  }

  async #check(judge: Engine, signal: AbortSignal): Promise<void> {
    this.#isChecking = true
    try {
      await judge.probe(signal)
    } catch (error) {
      // The engine has said so itself, once.
      this.#log.debug('the canary failed', { error: toError(error) })
    } finally {
      this.#isChecking = false
    }
    await this.#tell()
  }

  async #tell(): Promise<void> {
    const running = this.#running
    if (running === undefined) return
    // Not waited for: a scan asks itself what it has to know.
    void running.abilities.refresh(running.signal)
    try {
      await running.news.tell(running.engines)
    } catch (error) {
      // Told again after the next canary.
      this.#log.debug('news of the engine could not be told', { error: toError(error) })
    }
  }

  /** Pauses the lanes if no engine can be used. */
  #stop(): void {
    const running = this.#running
    if (running === undefined) return
    const errors = running.engines.parts.map(({ name }) => this.#down.get(name))
    if (errors.includes(undefined)) return
    const why = errors.map(describeError).join('; and its fallback: ')
    void running.consumer.pause(new EngineUnavailableError(why), this.#stopped())
  }

  /** What waits while no engine can be used: where new objects are let pass, sweeps and re-scans alone. */
  #stopped(): string[] {
    const { broker, engine } = this.#config
    const bulk = bulkQueue(this.#config)
    return engine.outage === 'pass-unscanned' ? [bulk] : [broker.queue, bulk]
  }
}

/** Ends early, and without an error, when `signal` aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal, ref: false }).catch(() => undefined)
}
