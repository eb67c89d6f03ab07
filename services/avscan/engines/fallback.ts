// Two engines as one: the second judges what the first cannot take. Each keeps its own breakers, canaries and signatures,
// and each finding says who gave it.
import { describeError, EngineUnavailableError } from '../../shared/errors.ts'
import type { AddressState, Engine, EngineInfo, ScanStream } from './engine.ts'

export function withFallback(first: Engine, second: Engine): Engine {
  return {
    name: first.name,
    get info(): EngineInfo | undefined {
      return first.info ?? second.info
    },
    get addresses(): AddressState[] {
      return [...first.addresses, ...second.addresses]
    },
    get places(): number {
      return first.outage === undefined ? first.places : second.places
    },
    get outage(): Error | undefined {
      if (first.outage === undefined || second.outage === undefined) return undefined
      return neither(first.outage, second.outage)
    },
    async open(size, signal): Promise<ScanStream> {
      let why: unknown = first.outage
      if (why === undefined)
        try {
          return await first.open(size, signal)
        } catch (error) {
          // Only then has it seen nothing of the object.
          if (!(error instanceof EngineUnavailableError)) throw error
          why = error
        }
      try {
        return await second.open(size, signal)
      } catch (error) {
        throw error instanceof EngineUnavailableError ? neither(why, error) : error
      }
    },
    async probe(signal): Promise<EngineInfo> {
      const [one, other] = await Promise.allSettled([first.probe(signal), second.probe(signal)])
      signal.throwIfAborted()
      if (one.status === 'fulfilled') return one.value
      if (other.status === 'fulfilled') return other.value
      throw neither(one.reason, other.reason)
    },
    async close() {
      await Promise.all([first.close(), second.close()])
    },
  }
}

function neither(one: unknown, other: unknown): EngineUnavailableError {
  return new EngineUnavailableError(
    `${describeError(one)}; and its fallback: ${describeError(other)}`,
  )
}
