// One supervised process: its own process group, its log, restarts with backoff until it is stopped.
import { spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openLogFile, type LogFile } from './log-file.ts'
import { marker } from './processes.ts'
import { isReady } from './readiness.ts'
import type { ChildSpec, ChildState } from './spec.ts'
import { describeError } from '../shared/errors.ts'

export interface Around {
  runDir: string
  say(text: string): void
  changed(): void
}

const maxLogBytes = 10 * 1024 * 1024
/** A child that ran this long starts again at the first backoff. */
const calmMs = 30_000

/** Delay before restart number `failures` in a row: 0.2, 0.4, 0.8 … at most 15 seconds. */
export function restartDelayMs(failures: number): number {
  return Math.min(200 * 2 ** Math.max(0, failures - 1), 15_000)
}

export class Child {
  readonly spec: ChildSpec
  readonly state: ChildState
  /** Resolves at the first readiness, when it is stopped, or when it failed to become ready in time. */
  readonly firstReady: Promise<void>
  begun = false
  readonly #around: Around
  readonly #log: LogFile
  #process: ChildProcess | undefined
  #ended: Promise<void> = Promise.resolve()
  #settle: () => void = () => {}
  #stopping = false
  #failures = 0
  #asked = false
  readonly #wake = new AbortController()

  constructor(spec: ChildSpec, around: Around) {
    this.spec = spec
    this.#around = around
    this.state = { name: spec.name, phase: 'waiting', restarts: 0 }
    this.firstReady = new Promise((resolve) => (this.#settle = resolve))
    this.#log = openLogFile(join(around.runDir, `log/${spec.name}.log`), {
      maxBytes: maxLogBytes,
      ...(spec.mask === undefined ? {} : { mask: spec.mask }),
    })
  }

  start(): void {
    this.begun = true
    this.#spawn()
    setTimeout(this.#settle, this.spec.readyTimeoutMs).unref()
  }

  /** Ends the process; the restart that follows is asked for and counts as none of its failures. */
  restart(): void {
    this.#asked = true
    this.#signal('SIGTERM')
    const victim = this.#process
    setTimeout(() => {
      if (this.#process === victim) this.#signal('SIGKILL')
    }, this.spec.stopTimeoutMs).unref()
  }

  /** SIGTERM to the whole group, SIGKILL after its time; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#wake.abort()
    this.#settle()
    if (this.#process === undefined) return
    this.#set({ phase: 'stopping' })
    this.#signal('SIGTERM')
    const deadline = setTimeout(() => {
      this.#around.say(`${this.spec.name}: did not stop in ${this.spec.stopTimeoutMs} ms; killed`)
      this.#signal('SIGKILL')
    }, this.spec.stopTimeoutMs)
    await this.#ended
    clearTimeout(deadline)
    this.#log.flush()
  }

  #spawn(): void {
    const { name, command, env, cwd } = this.spec
    const begun = Date.now()
    this.#removeTemporary()
    const [file = '', ...args] = command
    const child = spawn(file, args, {
      cwd,
      env: { ...env, [marker]: this.#around.runDir },
      // A group of its own: a signal to it reaches helpers too, and ctrl-c in a terminal does not.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#process = child
    const { pid } = child
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => this.#log.write(chunk))
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => this.#log.write(chunk))
    this.#set({
      phase: 'starting',
      since: new Date().toISOString(),
      ...(pid === undefined ? {} : { pid }),
    })
    this.#ended = new Promise((resolve) => {
      let over = false
      const end = (how: string) => {
        if (over) return
        over = true
        if (pid !== undefined) signalGroup(pid, 'SIGKILL')
        this.#process = undefined
        delete this.state.pid
        resolve()
        if (this.#stopping) return
        void this.#startAgain(how, begun)
      }
      child.once('error', (error) => end(`${file} cannot be started: ${error.message}`))
      child.once('exit', (code, signal) => end(signal ?? `exit ${code}`))
    })
    this.#around.say(`${name}: started, pid ${pid ?? '-'}`)
    void this.#watch(child)
  }

  #removeTemporary(): void {
    const { name, temporaryFolder: folder } = this.spec
    if (folder === undefined) return
    try {
      for (const left of readdirSync(folder))
        rmSync(join(folder, left), { recursive: true, force: true })
    } catch (error) {
      this.#around.say(`${name}: what is left in ${folder} stays: ${describeError(error)}`)
    }
  }

  async #watch(child: ChildProcess): Promise<void> {
    const deadline = Date.now() + this.spec.readyTimeoutMs
    for (
      let pauseMs = 50;
      this.#process === child && !this.#stopping;
      pauseMs = Math.min(pauseMs * 1.5, 500)
    ) {
      if (await isReady(this.spec.ready)) {
        // Somebody else may answer on its port while it is already gone.
        if (this.#process !== child || this.#stopping) return
        this.#set({ phase: 'running' })
        this.#around.say(`${this.spec.name}: ready`)
        this.#settle()
        return
      }
      if (Date.now() > deadline && this.state.phase === 'starting') {
        this.#set({ phase: 'failed' })
        this.#around.say(
          `${this.spec.name}: not ready after ${this.spec.readyTimeoutMs} ms; still waiting`,
        )
        this.#settle()
      }
      await sleep(pauseMs)
    }
  }

  async #startAgain(how: string, begun: number): Promise<void> {
    const asked = this.#asked
    this.#asked = false
    this.#failures = asked || Date.now() - begun > calmMs ? 1 : this.#failures + 1
    const delayMs = restartDelayMs(this.#failures)
    this.#around.say(`${this.spec.name}: ended (${how}); starting it again in ${delayMs} ms`)
    this.#set({
      phase: this.#failures > 4 ? 'failed' : 'starting',
      restarts: this.state.restarts + 1,
      ...(asked ? {} : { lastEnd: how }),
    })
    try {
      await sleep(delayMs, undefined, { signal: this.#wake.signal })
    } catch {
      return
    }
    this.#spawn()
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#process?.pid !== undefined) signalGroup(this.#process.pid, signal)
  }

  #set(change: Partial<ChildState>): void {
    Object.assign(this.state, change)
    this.#around.changed()
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // already gone
  }
}
