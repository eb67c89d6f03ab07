// The life of a service process: configuration, work, first signal drains, second one exits, honest exit codes.
// What is acquired is released in reverse order, exactly once.
import { readFileSync } from 'node:fs'
import { ConfigError, loadConfig, printableConfig } from './config.ts'
import type { Config } from './config-schema.ts'
import { describeError, FatalError, toError } from './errors.ts'
import { createLog, type Log } from './log.ts'

export interface Service {
  config: Readonly<Config>
  log: Log
  /** Aborted at the first SIGTERM or SIGINT. */
  signal: AbortSignal
  /** Runs at the end, last in first out. */
  defer: (release: () => unknown) => void
}

export const version = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
).version

const sameWishMs = 250

/**
 * Runs `start`, then waits for a signal (a service) and releases everything. `--check-config` only loads the configuration.
 * Exit codes: 0 stopped as asked, 1 bad configuration, fatal error or shutdown deadline missed.
 */
export async function runService(
  name: string,
  options: { required?: readonly string[] },
  start: (service: Service) => Promise<void>,
): Promise<void> {
  let config: Readonly<Config>
  try {
    config = loadConfig({ service: name, env: process.env, ...options })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(
      `${name}: the configuration has ${error.problems.length} problem(s)\n${error.message}\n`,
    )
    process.exit(1)
  }
  if (process.argv.includes('--check-config')) {
    process.stdout.write(
      `${JSON.stringify(printableConfig(config), undefined, 2)}\nthe configuration is good\n`,
    )
    process.exit(0)
  }
  const log = createLog(name, { ...config.log, file: config.log.file || undefined })
  const controller = new AbortController()
  const releases: (() => unknown)[] = []
  let stoppedAt = 0
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (controller.signal.aborted) {
          // A terminal, npm and timeout(1) signal the whole group, and whoever started us passes it on: one wish, two signals.
          if (Date.now() - stoppedAt < sameWishMs) return
          log.warn('second signal, exiting at once', { signal })
          process.exit(1)
        }
        stoppedAt = Date.now()
        log.info('stopping', { signal, timeoutMs: config.shutdown.timeoutMs })
        controller.abort(new Error(`stopped by ${signal}`))
        resolve()
      })
    }
  })
  const service: Service = {
    config,
    log,
    signal: controller.signal,
    defer: (release) => releases.push(release),
  }
  let exitCode = 0
  log.info('starting', { version })
  try {
    await start(service)
    await stopped
  } catch (thrown) {
    if (!controller.signal.aborted) {
      exitCode = 1
      const error = toError(thrown)
      if (error instanceof FatalError) log.error(`${describeError(error)} - ${error.hint}`)
      else log.error('cannot go on', { error })
    }
  }
  const begun = Date.now()
  const deadline = setTimeout(() => {
    log.error('shutdown took too long, exiting', { timeoutMs: config.shutdown.timeoutMs })
    process.exit(1)
  }, config.shutdown.timeoutMs + 5000)
  for (const release of releases.toReversed()) {
    try {
      await release()
    } catch (error) {
      exitCode = 1
      log.error('release', { error: toError(error) })
    }
  }
  clearTimeout(deadline)
  log.info('stopped', { durationMs: Date.now() - begun })
  process.exitCode = exitCode
  // A handle that somebody forgot must not keep a stopped service alive.
  setTimeout(() => process.exit(exitCode), 1000).unref()
}
