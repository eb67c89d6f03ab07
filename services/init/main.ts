// `node services/init/main.ts certificates|broker|object-store [--print]`: prepares what the services need, and ends. Wiring only.
import { ConfigError, loadConfig } from '../shared/config.ts'
import { describeError, FatalError, toError } from '../shared/errors.ts'
import { createLog, type Log } from '../shared/log.ts'
import { initBroker } from './broker.ts'
import type { InitContext } from './context.ts'
import { initCertificates } from './init-certificates.ts'
import { initObjectStore } from './object-store.ts'
import { createReport } from './report.ts'

const commands: Record<string, (context: InitContext) => Promise<void>> = {
  certificates: initCertificates,
  broker: initBroker,
  'object-store': initObjectStore,
}
const usage = `usage: node services/init/main.ts ${Object.keys(commands).join('|')} [--print]`

async function main(args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const print = args.includes('--print')
  const [name = '', ...rest] = args.filter((arg) => arg !== '--print')
  const command = commands[name]
  if (command === undefined || rest.length > 0) throw new FatalError(usage, 'see README, init')
  // `init certificates` makes the CA that TLS_CA names, so the configuration is all that it asks for.
  const config = loadConfig({ service: 'init', env })
  log = createLog('init', { ...config.log, file: config.log.file || undefined })
  const report = createReport(log)
  await command({ config, env, print, report, out })
  if (!print) log.info(report.changes === 0 ? `${name}: nothing to do` : `${name}: done`)
}

const out = (text: string) => void process.stdout.write(text)
let log: Log = createLog('init', { format: 'text', level: 'info' })
try {
  await main(process.argv.slice(2), process.env)
} catch (thrown) {
  const error = toError(thrown)
  process.exitCode = 1
  if (error instanceof ConfigError) for (const problem of error.problems) log.error(problem)
  else if (error instanceof FatalError) log.error(describeError(error), { hint: error.hint })
  else log.error('init failed', { error })
}
