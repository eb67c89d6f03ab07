// Engines of the bench's own: a clamd with a given signature set, and clamdscan, its own client, over a folder.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from '../../services/cli/find-program.ts'
import { installPackages } from '../../services/cli/install-packages.ts'
import { runCommand } from '../../services/cli/run-command.ts'
import { clamdConf, clamdEnvironment } from '../../services/shared/clamd-conf.ts'
import { eventually } from '../support/eventually.ts'

export interface BenchClamd {
  socket: string
  pid: number
  conf: string
  close(): Promise<void>
}

export interface ClamdPlace {
  /** On tmpfs, as the deployed one's. */
  folder: string
  databases: string
  maxObjectBytes: number
  threads: number
}

export async function startBenchClamd(place: ClamdPlace): Promise<BenchClamd> {
  const program = findProgram('clamd', process.env['PATH'])
  if (program === undefined) throw new Error('clamd is not installed')
  const { folder, databases } = place
  mkdirSync(join(folder, 'tmp'), { recursive: true })
  const [socket, conf] = [join(folder, 'clamd.sock'), join(folder, 'clamd.conf')]
  const { maxObjectBytes, threads: maxThreads } = place
  const temporaryDirectory = join(folder, 'tmp')
  writeFileSync(
    conf,
    clamdConf({
      socket,
      databaseDirectory: databases,
      temporaryDirectory,
      maxObjectBytes,
      maxScanTimeMs: 300_000,
      maxThreads,
    }),
  )
  const child = spawn(program, [`--config-file=${conf}`], {
    stdio: 'ignore',
    env: { ...process.env, ...clamdEnvironment },
  })
  const killNow = () => child.kill('SIGKILL')
  process.on('exit', killNow)
  await eventually(
    () => {
      if (child.exitCode !== null) throw new Error(`clamd ended with ${child.exitCode}`)
      return existsSync(socket)
    },
    { timeoutMs: 180_000, everyMs: 100 },
  )
  return {
    socket,
    conf,
    pid: child.pid ?? 0,
    async close() {
      process.off('exit', killNow)
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const find = () => findProgram('clamdscan', process.env['PATH'])

export async function findClamdscan(): Promise<string> {
  if (find() === undefined) await installPackages(['clamdscan'])
  const program = find()
  if (program === undefined)
    throw new Error('clamdscan is not installed, and apt does not bring it')
  return program
}

/** Seconds that clamd's own client takes for all files of the folder. */
export async function clamdscan(program: string, conf: string, folder: string): Promise<number> {
  const begun = performance.now()
  const outcome = await runCommand([
    program,
    '--fdpass',
    '--multiscan',
    '--no-summary',
    '--infected',
    `--config-file=${conf}`,
    folder,
  ])
  if (outcome.code !== 0)
    throw new Error(`clamdscan ended with ${outcome.code}: ${outcome.stdout} ${outcome.stderr}`)
  return (performance.now() - begun) / 1000
}
