// How the commands talk to people: steps with their duration, a sign of life while something takes long, on stderr.
import { ConfigError } from '../shared/config.ts'
import { describeError, FatalError } from '../shared/errors.ts'

export function say(line = ''): void {
  process.stderr.write(`${line}\n`)
}

/** Runs one step; prints what it does when it begins, and every ten seconds while it lasts. */
export async function step<T>(what: string, work: () => Promise<T>, expected = ''): Promise<T> {
  const begun = Date.now()
  const seconds = () => Math.round((Date.now() - begun) / 1000)
  process.stderr.write(`  ${what}${expected === '' ? '' : ` (${expected})`} …`)
  const alive = setInterval(() => process.stderr.write(` ${seconds()} s …`), 10_000)
  try {
    const result = await work()
    process.stderr.write(` ok${seconds() > 1 ? `, ${seconds()} s` : ''}\n`)
    return result
  } catch (error) {
    process.stderr.write(' FAILED\n')
    throw error
  } finally {
    clearInterval(alive)
  }
}

export type Progress = (text: string) => void

interface Out {
  isTTY?: boolean
  columns?: number
  write(text: string): unknown
}

/** A step of minutes: on a terminal a line that changes, elsewhere one now and then. */
export async function longStep<T>(
  what: string,
  expected: string,
  work: (progress: Progress) => Promise<T>,
  out: Out = process.stderr,
  everyMs = out.isTTY === true ? 1000 : 30_000,
): Promise<T> {
  const begun = Date.now()
  const lasted = () => duration(Date.now() - begun)
  const title = `  ${what}${expected === '' ? '' : ` (${expected})`} …`
  let last = ''
  const show = (text: string) => {
    if (out.isTTY !== true) return out.write(`    ${text}\n`)
    // A line that is wrapped could not be taken back.
    const room = (out.columns || 80) - 1
    return out.write(
      `\r\u001b[K${`${title.slice(0, Math.max(0, room - text.length - 1))} ${text}`.slice(0, room)}`,
    )
  }
  const alive = setInterval(() => show(`${lasted()}${last === '' ? '' : `, ${last}`}`), everyMs)
  const end = (text: string) => {
    clearInterval(alive)
    out.write(out.isTTY === true ? `\r\u001b[K${title} ${text}\n` : `    ${text}\n`)
  }
  out.write(out.isTTY === true ? title : `${title}\n`)
  try {
    const result = await work((text) => (last = text))
    end(`ok, ${lasted()}`)
    return result
  } catch (error) {
    end(`FAILED after ${lasted()}`)
    throw error
  }
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  return seconds < 100 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}

/** What failed, why and what to do next, for the end of a command. */
export function explain(thrown: unknown): string {
  return `\n${describeError(thrown)}\nWhat to do: ${hintFor(thrown)}\n`
}

function hintFor(thrown: unknown): string {
  if (thrown instanceof FatalError) return thrown.hint
  if (thrown instanceof ConfigError)
    return 'mend what is named above, in the file or the variable, and run the command again'
  return 'make status and make logs show more'
}
