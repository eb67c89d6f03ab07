// What main.ts hands to each init command.
import type { Config } from '../shared/config-schema.ts'
import type { Report } from './report.ts'

export interface InitContext {
  config: Readonly<Config>
  env: Readonly<Record<string, string | undefined>>
  /** Show what an administrator would have to run, without secrets, and touch nothing. */
  print: boolean
  report: Report
  /** Writes to standard output what `print` shows. */
  out: (text: string) => void
}
