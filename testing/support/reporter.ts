// Mocha's spec output, and the counts appended to the file that COUNTS_FILE names, with what failed, so that several runs can
// be summed up.
import { appendFileSync } from 'node:fs'
import Mocha from 'mocha'

export default class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options?: Mocha.MochaOptions) {
    super(runner, options)
    const failed: string[] = []
    runner.on('fail', (test, error: Error) => {
      failed.push(`${test.titlePath().join(' › ')}: ${error.message.split('\n', 1)[0]}`)
    })
    runner.once('end', () => {
      const { passes = 0, failures = 0, pending = 0 } = runner.stats ?? {}
      const file = process.env['COUNTS_FILE']
      if (file !== undefined)
        appendFileSync(file, `${JSON.stringify({ passes, failures, pending, failed })}\n`)
    })
  }
}
