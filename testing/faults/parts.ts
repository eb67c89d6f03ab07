// The processes of a native deployment: signals, whether they are well, what they log, and what lies in the scan folders.
import { existsSync, openSync, readdirSync, readSync, closeSync, fstatSync } from 'node:fs'
import { join } from 'node:path'
import { layoutOf } from '../../services/cli/layout.ts'
import { fetchText, isReady } from '../../services/cli/readiness.ts'
import { readSpec } from '../../services/cli/spec.ts'
import { liveState } from '../../services/cli/supervision.ts'
import type { NativeDeployment } from '../support/deployment.ts'
import { eventually } from '../support/eventually.ts'

export type Parts = ReturnType<typeof createParts>

export function createParts(deployment: NativeDeployment) {
  const { runDir } = deployment
  const layout = layoutOf(runDir)
  const spec = () => readSpec(runDir)?.children ?? []
  const states = () => liveState(runDir)?.children ?? []
  const state = (name: string) => {
    const found = states().find((child) => child.name === name)
    if (found === undefined) throw new Error(`the deployment has no part "${name}"`)
    return found
  }
  const logs = new Map<string, LogTail>()

  const parts = {
    layout,
    names: () => spec().map(({ name }) => name),
    has: (name: string) => spec().some((child) => child.name === name),
    workers: () =>
      spec()
        .map(({ name }) => name)
        .filter((name) => name.startsWith('avscan-')),
    /** @throws Error when it does not run at the moment. */
    pid(name: string): number {
      const { pid } = state(name)
      if (pid === undefined) throw new Error(`${name} does not run`)
      return pid
    },
    restarts: (name: string) => state(name).restarts,
    /** To the whole process group; the supervisor starts again what ends. */
    signal(name: string, signal: NodeJS.Signals): void {
      process.kill(-parts.pid(name), signal)
    },
    signalAll(names: readonly string[], signal: NodeJS.Signals): void {
      for (const name of names) parts.signal(name, signal)
    },
    /** kill -9 and wait until the supervisor has started it again and it is ready. */
    async killAndReturn(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
      const before = parts.restarts(name)
      parts.signal(name, signal)
      await eventually(() => parts.restarts(name) > before, { timeoutMs: 60_000 })
      await parts.ready(name)
    },
    ready: (name: string, timeoutMs = 120_000): Promise<unknown> =>
      eventually(
        async () => {
          const why = await parts.trouble(name)
          if (why !== undefined) throw new Error(`${name}: ${why}`)
        },
        { timeoutMs, everyMs: 100 },
      ),
    /** Why it is not well, by its state and its own /readyz. */
    async trouble(name: string): Promise<string | undefined> {
      const child = spec().find((one) => one.name === name)
      if (child === undefined) return 'is not there'
      const { phase } = state(name)
      if (phase !== 'running') return phase
      if (child.ready.kind !== 'http') return (await isReady(child.ready)) ? undefined : 'is away'
      const answer = await fetchText(child.ready.url, child.ready.caFile)
      return answer?.ok === true ? undefined : (answer?.text.slice(0, 300) ?? 'does not answer')
    },
    async troubles(): Promise<string[]> {
      const found: string[] = []
      for (const { name } of spec()) {
        const why = await parts.trouble(name)
        if (why !== undefined) found.push(`${name}: ${why}`)
      }
      return found
    },
    /** The facts of a service's /readyz, whatever its status. */
    async facts(name: string): Promise<Record<string, unknown> | undefined> {
      const child = spec().find((one) => one.name === name)
      if (child?.ready.kind !== 'http') return undefined
      const answer = await fetchText(child.ready.url)
      try {
        return JSON.parse(answer?.text ?? '') as Record<string, unknown>
      } catch {
        return undefined
      }
    },
    /** Sum of a metric's samples whose labels contain `labels`. */
    async metric(name: string, metric: string, labels = ''): Promise<number> {
      const text = await deployment.metrics(name)
      let sum = 0
      for (const line of text.split('\n'))
        if (
          line.startsWith(metric) &&
          /^[{ ]/.test(line.slice(metric.length)) &&
          line.includes(labels)
        )
          sum += Number(line.slice(line.lastIndexOf(' ') + 1))
      return sum
    },
    /** Lines that came into its log since the last call with the same `reader`. */
    newLines(name: string, reader = ''): string[] {
      const id = `${name} ${reader}`
      let tail = logs.get(id)
      if (tail === undefined) logs.set(id, (tail = new LogTail(join(runDir, `log/${name}.log`))))
      return tail.read()
    },
    /** Files in the workers' scan folders. */
    scanFiles: () =>
      existsSync(layout.scan)
        ? readdirSync(layout.scan, { recursive: true, withFileTypes: true })
            .filter((entry) => entry.isFile())
            .map((entry) => join(entry.parentPath, entry.name))
        : [],
  }
  return parts
}

/** Reads what was appended; the supervisor moves a full log to `.1`. */
class LogTail {
  readonly #path: string
  #offset = 0
  #inode: number | undefined
  #rest = ''

  constructor(path: string) {
    this.#path = path
  }

  read(): string[] {
    const lines: string[] = []
    // What was still written to the file before it was moved.
    if (this.#inode !== undefined && inodeOf(`${this.#path}.1`) === this.#inode) {
      lines.push(...this.#append(`${this.#path}.1`))
      this.#offset = 0
      this.#inode = undefined
    }
    lines.push(...this.#append(this.#path))
    return lines
  }

  #append(path: string): string[] {
    if (!existsSync(path)) return []
    const file = openSync(path, 'r')
    try {
      const { size, ino } = fstatSync(file)
      this.#inode = ino
      const bytes = Buffer.alloc(Math.max(0, size - this.#offset))
      readSync(file, bytes, 0, bytes.length, this.#offset)
      this.#offset = size
      const lines = (this.#rest + bytes.toString('utf8')).split('\n')
      this.#rest = lines.pop() ?? ''
      return lines
    } finally {
      closeSync(file)
    }
  }
}

function inodeOf(path: string): number | undefined {
  if (!existsSync(path)) return undefined
  const file = openSync(path, 'r')
  try {
    return fstatSync(file).ino
  } finally {
    closeSync(file)
  }
}
