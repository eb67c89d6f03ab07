// `node services/init/engine.ts`: prepares the volumes of clamd's container. Wiring only.
import { loadConfig } from '../shared/config.ts'
import { engineTimes, maxObjectBytes } from '../shared/config-schema.ts'
import { createLog } from '../shared/log.ts'
import { FatalError, describeError } from '../shared/errors.ts'
import { writeEngineFiles } from './engine-files.ts'

const log = createLog('init', { format: 'text', level: 'info' })
try {
  const config = loadConfig({ service: 'init', env: process.env })
  // Of the plan that also counts the room for their temporary files.
  const threads = Number(process.env['ENGINE_THREADS'] ?? 0)
  const done = await writeEngineFiles({
    folder: '/opt/av-scan/engine',
    socketFolder: '/opt/av-scan/engine-socket',
    temporaryFolder: '/opt/av-scan/engine-temp',
    signatures: process.env['SIGNATURES'] ?? '',
    engine: config.engine.kind,
    maxObjectBytes: maxObjectBytes(config),
    maxScanTimeMs: engineTimes(config.engine).maxScanTimeMs,
    ...(threads > 0 ? { maxThreads: threads } : {}),
  })
  for (const line of done) log.info(line)
} catch (error) {
  log.error(describeError(error), error instanceof FatalError ? { hint: error.hint } : {})
  process.exitCode = 1
}
