// How the commands talk to people: steps with their duration, a sign of life while something takes long, on stderr.
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

/** What failed, why and what to do next, for the end of a command. */
export function explain(thrown: unknown): string {
  const hint = thrown instanceof FatalError ? thrown.hint : 'make status and make logs show more'
  return `\n${describeError(thrown)}\nWhat to do: ${hint}\n`
}
