// What the supervisor is told (RUN_DIR/spec.json) and what it tells (RUN_DIR/state.json), and the difference of two specs.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'

export type Readiness =
  | { kind: 'tcp'; port: number }
  | { kind: 'socket'; path: string }
  /** 2xx means ready. `caFile` verifies https. */
  | { kind: 'http'; url: string; caFile?: string }
  | { kind: 'none' }

export interface ChildSpec {
  name: string
  command: readonly string[]
  env: Readonly<Record<string, string>>
  cwd: string
  ready: Readiness
  readyTimeoutMs: number
  /** How long it may take after SIGTERM before SIGKILL. */
  stopTimeoutMs: number
  /** Started without waiting for the parallel ones before it; whatever is not parallel waits for all before. */
  parallel?: boolean
  /**
   * A port to which it must hold a connection, and the child that listens there: VersityGW never reconnects to its
   * broker and stays "healthy", so it is restarted once the broker is back.
   */
  holds?: { port: number; of: string }
  /** Where its temporary files are, and nothing else: a process that is killed leaves them, and each start removes them. */
  temporaryFolder?: string
  /** Texts replaced by *** in its log. */
  mask?: readonly string[]
}

export interface Spec {
  /** Grows with each change, so that a reader of the state knows which spec it answers. */
  generation: number
  children: readonly ChildSpec[]
}

export type ChildPhase = 'waiting' | 'starting' | 'running' | 'stopping' | 'failed'

export interface ChildState {
  name: string
  phase: ChildPhase
  pid?: number
  /** When this process was started, ISO. */
  since?: string
  restarts: number
  /** `exit 1`, `SIGKILL`; of the last one that ended unasked. */
  lastEnd?: string
}

export interface SupervisorState {
  pid: number
  generation: number
  /** The spec of that generation has been put into effect. */
  settled: boolean
  children: ChildState[]
}

export interface SpecChange {
  stop: ChildSpec[]
  start: ChildSpec[]
  keep: ChildSpec[]
}

/** What must be stopped (gone or changed; last one first) and started (new or changed; in order). */
export function diffSpecs(before: readonly ChildSpec[], after: readonly ChildSpec[]): SpecChange {
  const find = (children: readonly ChildSpec[], name: string) =>
    children.find((child) => child.name === name)
  const same = (child: ChildSpec, other: ChildSpec | undefined) =>
    other !== undefined && isDeepStrictEqual(child, other)
  return {
    stop: before.filter((child) => !same(child, find(after, child.name))).toReversed(),
    start: after.filter((child) => !same(child, find(before, child.name))),
    keep: after.filter((child) => same(child, find(before, child.name))),
  }
}

export function readSpec(runDir: string): Spec | undefined {
  return readJson(join(runDir, 'spec.json')) as Spec | undefined
}

export function writeSpec(runDir: string, spec: Spec): void {
  writeJson(join(runDir, 'spec.json'), spec)
}

export function readState(runDir: string): SupervisorState | undefined {
  return readJson(join(runDir, 'state.json')) as SupervisorState | undefined
}

export function writeState(runDir: string, state: SupervisorState): void {
  writeJson(join(runDir, 'state.json'), state)
}

/** A reader never sees half a file; the environment of the children holds secrets. */
function writeJson(file: string, value: unknown): void {
  const temporary = `${file}.new`
  writeFileSync(temporary, `${JSON.stringify(value, undefined, 1)}\n`, { mode: 0o600 })
  renameSync(temporary, file)
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
