// A real clamd of a test's own: own folder, own socket and free port, EICAR-only signatures, gone afterwards.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { clamdConf, clamdEnvironment } from '../../services/shared/clamd-conf.ts'
import { testSignatures } from '../../services/shared/test-signatures.ts'
import { eventually } from './eventually.ts'

const program = ['/usr/sbin/clamd', '/usr/local/sbin/clamd'].find((path) => existsSync(path))

/** Why tests with a real clamd cannot run, or undefined. */
export const noClamd = program === undefined ? 'clamd is not installed' : undefined

export interface RealClamdOptions {
  maxObjectBytes?: number
  maxThreads?: number
  /** lines of clamd.conf (small limits, short time-outs) */
  overrides?: Record<string, string | number>
  /** file name → lines of a signature file beside EICAR */
  signatures?: Record<string, string>
}

export interface RealClamd {
  host: '127.0.0.1'
  port: number
  socket: string
  databaseDirectory: string
  process: ChildProcess
  log(): Promise<string>
  /** has it read its signatures again; the new ones judge a moment after this */
  reload(): Promise<void>
  /** as kill -9 */
  kill(): Promise<void>
  /** after `kill`, on the same addresses; also what `startClamd` does first */
  start(): Promise<void>
  close(): Promise<void>
}

/** A clamd that is ready: its socket is there once the signatures are loaded. Close it. */
export async function startClamd(options: RealClamdOptions = {}): Promise<RealClamd> {
  if (program === undefined) throw new Error(noClamd)
  const folder = await mkdtemp(join(tmpdir(), 'test-clamd-'))
  const databaseDirectory = join(folder, 'db')
  const temporaryDirectory = join(folder, 'tmp')
  const socket = join(folder, 'clamd.sock')
  const logFile = join(folder, 'clamd.log')
  const port = await freePort()
  await mkdir(temporaryDirectory)
  await testSignatures(databaseDirectory)
  for (const [name, lines] of Object.entries(options.signatures ?? {}))
    await writeFile(join(databaseDirectory, name), lines)
  await writeFile(
    join(folder, 'clamd.conf'),
    clamdConf({
      socket,
      tcp: { host: '127.0.0.1', port },
      databaseDirectory,
      temporaryDirectory,
      logFile,
      maxObjectBytes: options.maxObjectBytes ?? 100 * 1024 ** 2,
      maxScanTimeMs: 300_000,
      maxThreads: options.maxThreads ?? 2,
      overrides: options.overrides ?? {},
    }),
  )
  const run = () =>
    spawn(program, ['--config-file', join(folder, 'clamd.conf')], {
      stdio: 'ignore',
      env: { ...process.env, ...clamdEnvironment },
    })
  const clamd: RealClamd = {
    host: '127.0.0.1',
    port,
    socket,
    databaseDirectory,
    process: run(),
    log: () => readFile(logFile, 'utf8').catch(() => '(no log)'),
    reload: async () => {
      const asking = connect(socket)
      asking.end('zRELOAD\0')
      for await (const _ of asking);
    },
    kill: async () => {
      if (clamd.process.exitCode !== null || clamd.process.signalCode !== null) return
      const gone = once(clamd.process, 'exit')
      clamd.process.kill('SIGKILL')
      await gone
      await rm(socket, { force: true })
    },
    start: async () => {
      clamd.process = run()
      await isReady()
    },
    close: async () => {
      process.off('exit', killNow)
      await clamd.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
  const killNow = () => clamd.process.kill('SIGKILL')
  const isReady = async () => {
    try {
      await eventually(() => {
        if (clamd.process.exitCode !== null) throw new Error('clamd has exited')
        return existsSync(socket)
      })
    } catch (error) {
      throw new Error(`start clamd: ${await clamd.log()}`, { cause: error })
    }
  }
  // A test run that dies must not leave it behind.
  process.on('exit', killNow)
  await isReady()
  return clamd
}

/** A TCP port nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
