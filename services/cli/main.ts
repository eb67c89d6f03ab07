// The one command of the project; every make target calls it. Dispatch and usage only.
import {
  clean,
  dead,
  demo,
  deploy,
  env,
  logs,
  replay,
  smoke,
  start,
  status,
  stop,
  sweep,
} from './commands.ts'
import { explain } from './say.ts'

const usage = `usage: main.ts <command>

  deploy   install what is missing, bring everything up, wait until it is ready (SCALE=3 for three workers)
  demo     upload five objects and watch their verdicts come
  env      print shell exports for the uploader: eval "$(make -s env)"
  status   parts, queues, signatures, verdicts
  logs     the logs as text: logs [--follow] [--lines N] [part …]
  smoke    check a running deployment with EICAR and a clean object, in seconds
  sweep    scan what has no proven verdict, now: sweep [--no-wait]
  dead     what was given up: dead [--long] [--json] [--limit N] [filters]
  replay   send it back to be tried again: replay [--dry-run] [--limit N] [filters]
  stop     stop everything, keep the data
  start    start what was stopped
  clean    remove the deployment and its data: clean [--yes] [--tools]

Filters: --reason NAME, --origin QUEUE, --bucket NAME, --key PREFIX, --older-than 2h
RUNTIME=docker|native chooses the runtime; without it Docker when an engine answers, else native.
`

const commands: Record<string, (args: string[]) => Promise<number>> = {
  deploy,
  demo,
  env,
  status,
  logs,
  smoke,
  sweep,
  dead,
  replay,
  stop,
  start,
  clean,
}

const [name = 'help', ...args] = process.argv.slice(2)
const command = commands[name]
if (command === undefined) {
  const asked = ['help', '--help', '-h'].includes(name)
  process[asked ? 'stdout' : 'stderr'].write(
    asked ? usage : `there is no command "${name}"\n\n${usage}`,
  )
  process.exit(asked ? 0 : 2)
}
try {
  process.exitCode = await command(args)
} catch (error) {
  process.stderr.write(explain(error))
  process.exitCode = 1
}
