// The engines that the configuration asks for.
import { enginePort, engineTimes, maxObjectBytes, type Config } from '../../shared/config-schema.ts'
import type { Log } from '../../shared/log.ts'
import { createClamavRest } from './clamav-rest.ts'
import { createClamd } from './clamd.ts'
import type { Engine, EngineEvents } from './engine.ts'
import { withFallback } from './fallback.ts'

export interface Engines {
  /** Whom the scan path asks. */
  judge: Engine
  /** The engine and, where there is one, its fallback: each with a name of its own. */
  parts: Engine[]
}

type Place = Pick<Config['engine'], 'kind' | 'host' | 'port' | 'socket'>

/** Connects nowhere yet; close the judge. */
export function createEngines(config: Config, log: Log, events?: EngineEvents): Engines {
  const { connections, stallMs, breaker, outage, fallback } = config.engine
  const { timeoutMs } = engineTimes(config.engine)
  const create = (
    place: Place,
    name: string,
    signatureSet: Config['signatures']['set'],
  ): Engine => {
    const { kind, host, socket } = place
    const common = {
      name,
      host,
      port: enginePort(place),
      connections,
      breaker,
      timeoutMs,
      stallMs,
      maxBytes: maxObjectBytes(config),
      signatureSet,
    }
    return kind === 'clamd'
      ? createClamd({ ...common, socket }, log, events)
      : createClamavRest({ ...common, ca: config.tls.ca }, log, events)
  }
  const first = create(config.engine, config.engine.kind, config.signatures.set)
  if (outage !== 'fallback' || fallback.kind === 'none') return { judge: first, parts: [first] }
  const { kind } = fallback
  const name = kind === config.engine.kind ? `${kind}-fallback` : kind
  const second = create({ ...fallback, kind }, name, undefined)
  return { judge: withFallback(first, second), parts: [first, second] }
}
