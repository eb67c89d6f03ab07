// Runs a program to its end and keeps what it said.
import { spawn } from 'node:child_process'

export interface Outcome {
  code: number
  stdout: string
  stderr: string
}

export interface RunOptions {
  env?: Readonly<Record<string, string | undefined>>
  cwd?: string
  /** Given every chunk of output as it comes. */
  onOutput?: (text: string) => void
  timeoutMs?: number
  /** Ends it. */
  signal?: AbortSignal
}

/** Never throws: a program that cannot be started ends with code 127 and the reason in stderr. */
export function runCommand(command: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const [file = '', ...args] = command
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk
      options.onOutput?.(chunk)
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk
      options.onOutput?.(chunk)
    })
    child.on('error', (error) => {
      // Aborted, it still runs until it is closed.
      if (child.pid === undefined) resolve({ code: 127, stdout, stderr: error.message })
    })
    child.once('close', (code, signal) =>
      resolve({
        code: code ?? 128,
        stdout,
        stderr: signal === null ? stderr : `${stderr}\nended by ${signal}`,
      }),
    )
  })
}

// A terminal sends SIGINT to the command as well.
function waitForIt(): void {}

/**
 * The same with this process's own terminal; resolves with the exit code. Signals are the program's business, so that it may
 * end in its own way.
 */
export function runAttached(
  command: readonly string[],
  { env = process.env, cwd }: Pick<RunOptions, 'env' | 'cwd'> = {},
): Promise<number> {
  return new Promise((resolve, reject) => {
    const [file = '', ...args] = command
    const child = spawn(file, args, { cwd, env, stdio: 'inherit' })
    const pass = (signal: NodeJS.Signals) => void child.kill(signal)
    const done = () => {
      process.off('SIGINT', waitForIt)
      process.off('SIGTERM', pass)
    }
    process.on('SIGINT', waitForIt)
    process.on('SIGTERM', pass)
    child.once('error', (error) => {
      done()
      reject(error)
    })
    child.once('exit', (code) => {
      done()
      resolve(code ?? 1)
    })
  })
}

/** The last lines of what a failed program said, for an error message. */
export function lastWords({ stdout, stderr }: Outcome, lines = 6): string {
  return `${stdout}\n${stderr}`
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '')
    .slice(-lines)
    .join('\n    ')
}
