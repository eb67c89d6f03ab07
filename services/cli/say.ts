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
