// Runs `node services/init/main.ts …` as deployments do, and gathers what it says.
import { execFile } from 'node:child_process'
import { join, resolve } from 'node:path'

export interface InitRun {
  code: number
  /** `queue s3minioqueue: created`, in order. */
  lines: string[]
  stdout: string
  hint: string | undefined
}

const root = resolve(import.meta.dirname, '../..')

export function runInit(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<InitRun> {
  return new Promise((done) => {
    execFile(
      process.execPath,
      [join(root, 'services/init/main.ts'), ...args],
      { env: { PATH: process.env['PATH'] ?? '', LOG_FORMAT: 'json', ...env }, timeout: 60_000 },
      (error, stdout) => {
        const said = stdout.split('\n').flatMap((line) => {
          try {
            return [JSON.parse(line) as { message: string; hint?: string }]
          } catch {
            // Before the configuration is read the log is text.
            const [, text] = /^\[init\] (?:error: )?(.*)$/.exec(line) ?? []
            return text === undefined ? [] : [{ message: text }]
          }
        })
        done({
          code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1,
          lines: said.map((line) => line.message),
          stdout,
          hint: said.at(-1)?.hint,
        })
      },
    )
  })
}
