// The engines that the configuration asks for.
import { enginePort, maxObjectBytes, type Config } from '../../shared/config-schema.ts'
import type { Log } from '../../shared/log.ts'
import { createClamavRest } from './clamav-rest.ts'
import { createClamd } from './clamd.ts'
import type { Engine, EngineEvents } from './engine.ts'

/** Connects nowhere yet; close each engine. */
export function createEngines(config: Config, log: Log, events?: EngineEvents): Engine[] {
  const { kind, socket, host, connections, timeoutMs, stallMs, breaker } = config.engine
  const common = {
    host,
    port: enginePort(config),
    connections,
    breaker,
    timeoutMs,
    stallMs,
    maxBytes: maxObjectBytes(config),
    signatureSet: config.signatures.set,
  }
  return kind === 'clamd'
    ? [createClamd({ ...common, socket }, log, events)]
    : [createClamavRest({ ...common, ca: config.tls.ca }, log, events)]
}
