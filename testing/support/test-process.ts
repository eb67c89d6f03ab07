// Servers of a test process's own: in a run folder of their own, on free ports of 127.0.0.1, and gone when the test
// process is gone, however it ends (their wrapper notices that its standard input closes).
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, openSync, closeSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'

export const runRoot = resolve(import.meta.dirname, '../../.run')

const folders = new Set<string>()
let counter = 0

/** A new folder `.run/test-<pid>-<name>-<n>`, removed at exit; what dead test processes left is removed first. */
export function testFolder(name: string): string {
  mkdirSync(runRoot, { recursive: true })
  for (const entry of readdirSync(runRoot)) {
    const pid = /^test-(\d+)-/.exec(entry)?.[1]
    if (pid !== undefined && !isAlive(Number(pid)))
      rmSync(join(runRoot, entry), { recursive: true, force: true })
  }
  const folder = join(runRoot, `test-${process.pid}-${name}-${counter++}`)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (folders.size === 0) process.once('exit', removeAll)
  folders.add(folder)
  return folder
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const running = new Set<TestProcess>()

function removeAll(): void {
  for (const one of running) signal(one, 'SIGKILL')
  for (const folder of folders)
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
}

export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))))
  return ports
}

export interface TestProcess {
  readonly pid: number
  readonly logFile: string
  readonly process: ChildProcess
  readonly running: boolean
  /** What it has printed so far. */
  log(): string
  /** Ends it and its children with SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
}

export interface TestProcessOptions {
  command: readonly string[]
  folder: string
  name: string
  env: Readonly<Record<string, string>>
}

// `cat` ends when the test process does; the shell then takes the whole group with it, itself included.
// It also goes when the server ends by itself, so that nobody waits for a dead one.
const wrapper =
  '"$@" </dev/null & server=$!; (cat >/dev/null; kill -KILL 0) <&3 & wait $server; exit'

export function startProcess({ command, folder, name, env }: TestProcessOptions): TestProcess {
  const logFile = join(folder, `${name}.log`)
  const output = openSync(logFile, 'a', 0o600)
  const child = spawn('/bin/sh', ['-c', wrapper, 'sh', ...command], {
    cwd: folder,
    env: { PATH: process.env['PATH'] ?? '', LANG: 'C.UTF-8', ...env },
    detached: true,
    stdio: ['ignore', output, output, 'pipe'],
  })
  closeSync(output)
  child.unref()
  const lifeline = child.stdio[3] as unknown as {
    unref(): void
    on(name: string, f: () => void): void
  }
  lifeline.on('error', () => {})
  lifeline.unref()
  const one: TestProcess = {
    pid: child.pid ?? 0,
    logFile,
    process: child,
    get running() {
      return child.exitCode === null && child.signalCode === null
    },
    log: () => readFileSync(logFile, 'utf8'),
    async kill() {
      signal(one, 'SIGKILL')
      if (one.running) {
        child.ref()
        await once(child, 'exit')
      }
      running.delete(one)
    },
  }
  running.add(one)
  return one
}

function signal(one: TestProcess, name: NodeJS.Signals): void {
  try {
    process.kill(-one.pid, name)
  } catch {
    // already gone
  }
}
