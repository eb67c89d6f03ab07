// Mocha's spec output, and the counts in the file that COUNTS_FILE names: kept up to date with each test, so that a run that hangs and
// is killed still tells what passed, what failed and what it hung in.
import { writeFileSync } from 'node:fs'
import Mocha from 'mocha'

export interface Counts {
  passes: number
  failures: number
  pending: number
  /** One line for each failure. */
  failed: string[]
  /** The test or hook that is being run. */
  running: string
}

export default class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options?: Mocha.MochaOptions) {
    super(runner, options)
    const failed: string[] = []
    const file = process.env['COUNTS_FILE']
    const note = (running: string) => {
      const { passes = 0, failures = 0, pending = 0 } = runner.stats ?? {}
      const counts: Counts = { passes, failures, pending, failed, running }
      if (file !== undefined) writeFileSync(file, JSON.stringify(counts))
    }
    const begins = (runnable: Mocha.Runnable) => note(runnable.titlePath().join(' › '))
    runner.on('test', begins)
    runner.on('hook', begins)
    runner.on('fail', (test, error: Error) => {
      failed.push(`${test.titlePath().join(' › ')}: ${error.message.split('\n', 1)[0]}`)
    })
    runner.once('end', () =>
      note(
        'nothing: all tests were over, and a connection, a timer or a process of theirs was open',
      ),
    )
  }
}
