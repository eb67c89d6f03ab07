// The one command of the project; every make target calls it. Dispatch and usage only.
import { clean, demo, deploy, env, logs, smoke, start, status, stop } from './commands.ts'
import { explain } from './say.ts'

const usage = `usage: main.ts <command>

  deploy   install what is missing, bring everything up, wait until it is ready (SCALE=3 for three workers)
  demo     upload five objects and watch their verdicts come
  env      print shell exports for the uploader: eval "$(make -s env)"
  status   parts, queues, signatures, objects by verdict
  logs     the logs as text: logs [--follow] [--lines N] [part …]
  smoke    check a running deployment with EICAR and a clean object, in seconds
  stop     stop everything, keep the data
  start    start what was stopped
  clean    remove the deployment and its data: clean [--yes]

RUNTIME=docker|native chooses the runtime; without it Docker when an engine answers, else native.
`

const commands: Record<string, (args: string[]) => Promise<number>> = {
  deploy,
  demo,
  env,
  status,
  logs,
  smoke,
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
