// The command line's side of the supervisor: hand it a spec, wait until it is in effect, stop it.
import { spawn } from 'node:child_process'
import { mkdirSync, openSync, closeSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FatalError } from '../shared/errors.ts'
import { renderLine } from './logs.ts'
import { endMarked, findMarked, isMarked, marker, sendSignal } from './processes.ts'
import { readSpec, readState, writeSpec, type ChildSpec, type SupervisorState } from './spec.ts'

/** The supervisor's state while it lives. */
export function liveState(runDir: string): SupervisorState | undefined {
  const state = readState(runDir)
  return state !== undefined && isMarked(state.pid, runDir) ? state : undefined
}

export interface ApplyOptions {
  runDir: string
  /** PATH and the like for the supervisor itself. */
  base: Readonly<Record<string, string>>
  onProgress?: (waitingFor: string[]) => void
}

/** Makes `children` what runs, in that order, and returns when all are ready. @throws FatalError naming the one that is not. */
export async function applySpec(
  children: readonly ChildSpec[],
  options: ApplyOptions,
): Promise<void> {
  const { runDir } = options
  const before = readSpec(runDir)
  const generation = (before?.generation ?? 0) + 1
  writeSpec(runDir, { generation, children })
  const live = liveState(runDir)
  if (live === undefined) {
    // Left over from a supervisor that was killed: they would hold the ports.
    if (findMarked(runDir).length > 0) await endMarked(runDir, 15_000)
    startSupervisor(options)
  } else sendSignal(live.pid, 'SIGHUP')
  await waitUntilReady(generation, children, options)
}

function startSupervisor({ runDir, base }: ApplyOptions): void {
  mkdirSync(join(runDir, 'log'), { recursive: true })
  const log = openSync(join(runDir, 'log/supervisor.log'), 'a', 0o600)
  const program = new URL('./supervisor.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [program, runDir], {
    cwd: '/',
    env: { ...base, [marker]: runDir },
    detached: true,
    stdio: ['ignore', log, log],
  })
  child.unref()
  closeSync(log)
}

async function waitUntilReady(
  generation: number,
  children: readonly ChildSpec[],
  options: ApplyOptions,
): Promise<void> {
  const { runDir, onProgress } = options
  const begun = Date.now()
  const deadline =
    begun + children.reduce((sum, child) => Math.max(sum, child.readyTimeoutMs), 30_000) + 60_000
  const restartsBefore = new Map<string, number>()
  for (;;) {
    const state = liveState(runDir)
    if (state !== undefined && state.generation === generation) {
      const waiting = state.children.filter(({ phase }) => phase !== 'running')
      // One that has run for months may have been restarted before; and a changed one begins anew.
      for (const { name, restarts } of state.children)
        restartsBefore.set(name, Math.min(restarts, restartsBefore.get(name) ?? restarts))
      if (state.settled && waiting.length === 0 && state.children.length === children.length) return
      const broken = waiting.find(
        ({ name, phase, restarts, lastEnd }) =>
          phase === 'failed' ||
          (restarts - (restartsBefore.get(name) ?? 0) >= 3 && lastEnd !== undefined),
      )
      if (broken !== undefined) throw notReady(runDir, broken.name, broken.lastEnd)
      onProgress?.(waiting.map(({ name }) => name))
    } else if (state === undefined && Date.now() - begun > 10_000)
      throw notReady(runDir, 'supervisor', undefined)
    if (Date.now() > deadline) {
      const late = state?.children.find(({ phase }) => phase !== 'running')
      throw notReady(runDir, late?.name ?? 'supervisor', late?.lastEnd)
    }
    await sleep(100)
  }
}

function notReady(runDir: string, name: string, lastEnd: string | undefined): FatalError {
  const words = tailOf(join(runDir, `log/${name}.log`), 6)
    .split('\n')
    .map((line) => renderLine(name, line.trim()))
    .join('\n    ')
  const how = lastEnd === undefined ? 'does not become ready' : `ends again and again (${lastEnd})`
  return new FatalError(
    `${name} ${how}${words === `[${name}] ` ? '' : `; its last words:\n    ${words}`}`,
    `read ${join(runDir, `log/${name}.log`)}, mend the cause, then make deploy again`,
  )
}

export function tailOf(file: string, lines: number): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n    ')
  } catch {
    return ''
  }
}

/** Stops the supervisor and everything it started; also what lost its supervisor. Returns how many processes were there. */
export async function stopSupervision(runDir: string): Promise<number> {
  const running = findMarked(runDir).length
  const live = liveState(runDir)
  if (live !== undefined) {
    sendSignal(live.pid, 'SIGTERM')
    const deadline = Date.now() + 120_000
    while (isMarked(live.pid, runDir) && Date.now() < deadline) await sleep(50)
  }
  await endMarked(runDir, 15_000)
  return running
}
