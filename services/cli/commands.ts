// The commands, written once over both runtimes.
import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { loadConfig } from '../shared/config.ts'
import { FatalError } from '../shared/errors.ts'
import { runCanary } from './canary.ts'
import { readDeployment } from './compose-command.ts'
import { demoAccess, runDemo } from './demo.ts'
import { renderEnvironment } from './environment.ts'
import { findProgram } from './find-program.ts'
import { findForeignObjects } from './foreign-objects.ts'
import { listBuilt, removeBuilt } from './go-build.ts'
import { findPaths, type Paths } from './paths.ts'
import {
  chooseRuntime,
  findDockerTrouble,
  openRuntime,
  type Runtime,
  type RuntimeName,
} from './runtime.ts'
import { say } from './say.ts'
import { collectSettings } from './settings.ts'
import { readSecrets, removeSecrets } from './secrets.ts'
import { gatherStatus, isHealthy, renderStatus } from './status.ts'
import { renderSummary } from './summary.ts'

async function pickRuntime(
  paths: Paths,
  options: { mayBeNew: boolean },
): Promise<{ runtime: Runtime; why: string }> {
  const forced = process.env['RUNTIME']
  const deployed = forced === undefined || forced === '' ? await findDeployed(paths) : undefined
  if (!options.mayBeNew && deployed === undefined && (forced === undefined || forced === ''))
    throw new FatalError('nothing is deployed here', 'make deploy')
  const { name, why } = await chooseRuntime({
    forced,
    deployed,
    dockerTrouble: () => findDockerTrouble(),
    platform: process.platform,
    hasApt: findProgram('apt-get', process.env['PATH']) !== undefined,
  })
  return { runtime: await openRuntime(name, paths), why }
}

async function findDeployed(paths: Paths): Promise<RuntimeName | undefined> {
  const native = await openRuntime('native', paths)
  if (await native.exists()) return 'native'
  // A run folder of its own is always a native one.
  if (!paths.isDefault || (await findDockerTrouble()) !== undefined) return undefined
  const docker = await openRuntime('docker', paths)
  return (await docker.exists()) ? 'docker' : undefined
}

const existing = async () =>
  (await pickRuntime(findPaths(process.env), { mayBeNew: false })).runtime

export async function deploy(): Promise<number> {
  const begun = Date.now()
  const { runtime, why } = await pickRuntime(findPaths(process.env), { mayBeNew: true })
  say(`Deploying with the ${runtime.name} runtime, because ${why}.`)
  await runtime.deploy()
  await summarize(runtime, `Ready after ${Math.round((Date.now() - begun) / 1000)} s.`)
  return 0
}

async function summarize(runtime: Runtime, first: string): Promise<void> {
  say(renderSummary(first, await runtime.access(), await gatherStatus(runtime)))
}

export async function start(): Promise<number> {
  const begun = Date.now()
  const runtime = await existing()
  await runtime.start()
  await summarize(runtime, `Ready after ${Math.round((Date.now() - begun) / 1000)} s.`)
  return 0
}

export async function stop(): Promise<number> {
  await (await existing()).stop()
  say('Stopped; the data is kept. make start brings it back, make clean removes it.')
  return 0
}

export async function status(): Promise<number> {
  const facts = await gatherStatus(await existing())
  process.stdout.write(renderStatus(facts))
  return isHealthy(facts) ? 0 : 1
}

export async function logs(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      follow: { type: 'boolean', short: 'f', default: false },
      lines: { type: 'string', short: 'n', default: '50' },
    },
  })
  const lines = Number(values.lines)
  if (!Number.isInteger(lines) || lines < 0)
    throw new FatalError(`--lines ${values.lines} is no number`, 'logs --lines 100')
  process.stdout.on('error', () => process.exit(0))
  await (await existing()).logs({ follow: values.follow, lines, parts: positionals })
  return 0
}

export async function env(): Promise<number> {
  process.stdout.write(renderEnvironment(await (await existing()).access()))
  return 0
}

export async function smoke(): Promise<number> {
  const paths = findPaths(process.env)
  const runtime = await existing()
  const secrets = readSecrets(paths.envFile) ?? {}
  const placeholder = { DEMO_URL: 'http://127.0.0.1:1/', DEMO_SECRET: secrets['DEMO_SECRET'] ?? '' }
  const config = loadConfig({
    service: 'cli',
    env: { ...placeholder, ...collectSettings(process.env, secrets), AV_CONFIG: paths.configFile },
  })
  const options = { tags: config.tags, deletes: config.actions.delete, timeoutMs: 9000 }
  const { infected, infectedMs, cleanMs } = await runCanary(await runtime.access(), options)
  say(`EICAR: ${infected} after ${infectedMs} ms`)
  if (config.tags.enabled) say(`clean object: tagged clean after ${cleanMs} ms`)
  say('The deployment works.')
  return 0
}

// These three look at the broker and the reconciler from inside, where both are in reach.
const insideReconciler =
  (name: string) =>
  async (args: string[]): Promise<number> =>
    (await existing()).inside('reconciler', [name, ...args])

export const dead = insideReconciler('dead')
export const replay = insideReconciler('replay')
export const sweep = insideReconciler('sweep')

export async function demo(): Promise<number> {
  if (process.env['DEMO_INSIDE'] === '1') {
    const { access, place } = demoAccess(process.env)
    return runDemo(access, place)
  }
  return (await existing()).demo()
}

export async function clean(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      yes: { type: 'boolean', short: 'y', default: false },
      tools: { type: 'boolean', default: false },
    },
  })
  const paths = findPaths(process.env)
  const runtimes = await findAll(paths)
  if (!values.yes && !(await isConfirmed(runtimes))) {
    say('Nothing was removed.')
    return 1
  }
  for (const runtime of runtimes) await runtime.clean()
  // The other runtime's data would be locked away with the secrets.
  if ((await findDeployed(paths)) === undefined) {
    const own = removeSecrets(paths.envFile)
    if (own.length > 0) say(`  kept, for it is yours: ${own.join(', ')} in ${paths.envFile}`)
  }
  if (values.tools) removeBuilt(paths.toolsDir)
  const built = listBuilt(paths.toolsDir)
  if (built.length > 0)
    say(
      `  kept, for building it takes minutes: ${paths.toolsDir} (${built.join(', ')}); make clean ARGS="--yes --tools" removes it too`,
    )
  say(
    'Clean: no process, no port and no file of the deployment is left. node_modules and packages installed by apt stay.',
  )
  return 0
}

/** What there is to clean; what a forced runtime leaves out stays. */
async function findAll(paths: Paths): Promise<Runtime[]> {
  const forced = process.env['RUNTIME'] ?? ''
  const runtimes: Runtime[] = []
  // Native always: a deploy that failed half-way has left files too.
  if (forced !== 'docker') runtimes.push(await openRuntime('native', paths))
  if (
    forced === 'docker' ||
    // Only what this checkout deployed: the project's name is the same in every checkout.
    (forced !== 'native' &&
      readDeployment(paths) !== undefined &&
      (await findDockerTrouble()) === undefined)
  )
    runtimes.push(await openRuntime('docker', paths))
  return runtimes
}

async function isConfirmed(runtimes: readonly Runtime[]): Promise<boolean> {
  for (const runtime of runtimes) {
    if (!(await runtime.exists())) continue
    const found = await findForeignObjects(runtime)
    if (found === 'none') continue
    const what =
      found === 'unknown'
        ? 'It is stopped, so its objects cannot be counted.'
        : `It holds objects that the demo did not put there, for instance ${found}.`
    if (!process.stdin.isTTY)
      throw new FatalError(
        `the ${runtime.name} deployment may hold what somebody needs, and there is no terminal to ask: ${what}`,
        'make clean ARGS=--yes removes it with all its objects',
      )
    const terminal = createInterface({ input: process.stdin, output: process.stderr })
    const answer = await terminal.question(
      `${what}\nRemove the ${runtime.name} deployment with all its objects? [y/N] `,
    )
    terminal.close()
    if (!/^y(es)?$/i.test(answer.trim())) return false
  }
  return true
}
