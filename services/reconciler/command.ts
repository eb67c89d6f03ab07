// Commands for people, run with the reconciler's environment: dead, replay, sweep. Wiring and usage only.
import { ConfigError, loadConfig } from '../shared/config.ts'
import type { Config } from '../shared/config-schema.ts'
import { describeError, errorCode, FatalError } from '../shared/errors.ts'
import { dead } from './dead.ts'
import { replay } from './replay.ts'
import { sweep } from './sweep-command.ts'
import { createTerminal, type Terminal } from './terminal.ts'

const filters = `    --reason NAME     why it died: DiscardError, delivery_limit, …
    --origin QUEUE    where it died
    --bucket NAME     one of its objects is in this bucket
    --key PREFIX      … and its key begins so
    --older-than AGE  dead for longer: 90s, 15m, 2h, 3d`

const usage = `usage: command.ts <command> [options]

  dead      what lies in avscan.dead; takes nothing away
    --limit N         so many are shown (100)
    --long            nothing is shortened
    --json            one object per line, everything, body included
${filters}

  replay    sends dead letters back to the queues they come from
    --limit N         at most so many, the oldest first
    --dry-run         only says what would be sent where
${filters}

  sweep     compares the buckets with the proven verdicts, now
    --no-wait         only asks for it
`

const commands: Record<
  string,
  (config: Config, args: string[], terminal: Terminal) => Promise<number>
> = { dead, replay, sweep }

const [name = 'help', ...args] = process.argv.slice(2)
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (command === undefined || args.includes('--help')) {
  const asked = ['help', '--help', '-h'].includes(name) || command !== undefined
  process[asked ? 'stdout' : 'stderr'].write(
    asked ? usage : `there is no command "${name}"\n\n${usage}`,
  )
  process.exit(asked ? 0 : 2)
}

const interrupt = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => interrupt.abort(new Error(`stopped by ${signal}`)))
const terminal = createTerminal(interrupt.signal)

try {
  const config = loadConfig({
    service: 'reconciler',
    env: process.env,
    required: ['broker.user', 'broker.password'],
  })
  process.exitCode = await command(config, args, terminal)
} catch (error) {
  // Of parseArgs: an option that is not there.
  if (errorCode(error)?.startsWith('ERR_PARSE_ARGS')) {
    terminal.say(`${describeError(error)}\n\n${usage}`)
    process.exitCode = 2
  } else {
    const hint = error instanceof FatalError ? error.hint : hintFor(error)
    terminal.say(`${describeError(error)}\nWhat to do: ${hint}`)
    process.exitCode = 1
  }
}

function hintFor(error: unknown): string {
  return error instanceof ConfigError
    ? 'mend what is named above and run the command again'
    : 'make status and make logs show more; running the command again is safe'
}
