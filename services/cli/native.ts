// The native runtime: real RabbitMQ, clamd and an object store as supervised processes below RUN_DIR (Debian, Ubuntu).
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describeError, FatalError } from '../shared/errors.ts'
import { findRabbitmq } from './broker-process.ts'
import { runCanary } from './canary.ts'
import { findProgram } from './find-program.ts'
import { removeAbandonedBuilds } from './go-build.ts'
import { installPackages, missingPackages } from './install-packages.ts'
import { chooseFlavour, installStore, type FlavourChoice } from './install-store.ts'
import { layoutOf, makeFolders, socketFallback, type Layout } from './layout.ts'
import { showLogs } from './logs.ts'
import {
  baseEnvironment,
  initEnvironment,
  planChildren,
  planConfig,
  type PlanInput,
  type Programs,
} from './native-plan.ts'
import { readNativeAccess, nativeParts } from './native-access.ts'
import type { Paths } from './paths.ts'
import { choosePorts, listPorts, readPorts, type Ports } from './ports.ts'
import { fetchText } from './readiness.ts'
import { lastWords, runAttached, runCommand } from './run-command.ts'
import { insideScript, notRunning, type Runtime } from './runtime.ts'
import { claimRunFolder, emptyRunFolder, requireOwnFolder } from './run-folder.ts'
import { say, step } from './say.ts'
import { ensureSecrets } from './secrets.ts'
import {
  collectSettings,
  parseScale,
  readSettings,
  saveSettings,
  type Settings,
} from './settings.ts'
import { parseSignatureSource, prepareSignatures, warnOfTestSet } from './signatures.ts'
import { readSpec, type ChildSpec } from './spec.ts'
import type { StoreFlavour } from './store-process.ts'
import { applySpec, liveState, stopSupervision } from './supervision.ts'
import { runDemo } from './demo.ts'

export function createNativeRuntime(paths: Paths): Runtime {
  const { runDir } = paths
  const layout = layoutOf(runDir)
  const exists = () => existsSync(join(runDir, 'settings.json'))
  const access = () => readNativeAccess(paths)
  return {
    name: 'native',
    exists: () => Promise.resolve(exists()),
    deploy: async () => {
      claimRunFolder(paths)
      await deploy(
        paths,
        layout,
        collectSettings(process.env, ensureSecrets(paths.envFile).secrets),
      )
    },
    start: async () => {
      const kept = readSettings(runDir)
      if (kept === undefined) throw notDeployed()
      // What keeps the objects was settled by the deploy.
      const { STORE_FLAVOUR: _, ...settings } = kept
      await deploy(paths, layout, settings, 'start')
    },
    stop: async () => {
      if (!exists()) throw notDeployed()
      await step('stopping, the last one started first', () => stopSupervision(runDir))
    },
    clean: () => clean(paths),
    access: () => Promise.resolve(access()),
    parts: () => nativeParts(paths),
    metrics: async () => {
      const ports = readPorts(runDir)
      const names = (readSpec(runDir)?.children ?? []).map(({ name }) => name)
      const found = new Map<string, string | undefined>()
      for (const name of names) {
        const port = ports === undefined ? undefined : healthPort(ports, name)
        if (port === undefined) continue
        const answer = await fetchText(`http://127.0.0.1:${port}/metrics`)
        found.set(name, answer?.ok === true ? answer.text : undefined)
      }
      return found
    },
    endpoints: () => Promise.resolve(access().endpoints),
    logs: (options) => showLogs(layout.logs, options),
    inside: async (part, args) => {
      const child = readSpec(runDir)?.children.find(({ name }) => name === part)
      if (child === undefined || liveState(runDir) === undefined) throw notRunning(part)
      const command = [process.execPath, join(paths.root, insideScript), ...args]
      return runAttached(command, { env: child.env, cwd: child.cwd })
    },
    demo: () => {
      const there = access()
      return runDemo(there, { ...there.demo, host: '127.0.0.1' })
    },
  }
}

/** The port of a part's /metrics; undefined for the parts that are not ours. */
function healthPort(ports: Ports, name: string): number | undefined {
  if (name === 'notifier' || name === 'reconciler') return ports[name]
  if (name === 'store-audit') return ports.auditHealth
  const number = /^avscan-(\d+)$/.exec(name)?.[1]
  return number === undefined ? undefined : ports.workers[Number(number) - 1]
}

export function notDeployed(): FatalError {
  return new FatalError('nothing is deployed here', 'make deploy')
}

async function deploy(
  paths: Paths,
  layout: Layout,
  settings: Settings,
  how: 'deploy' | 'start' = 'deploy',
): Promise<void> {
  const { runDir } = paths
  const before = readSettings(runDir)
  const scale = parseScale(settings['SCALE'])
  const source = parseSignatureSource(settings['SIGNATURES'])
  const { secrets, created } = ensureSecrets(paths.envFile)
  if (created) say(`  secrets: generated into ${paths.envFile}`)
  const choice = chooseFlavour({
    asked: settings['STORE_FLAVOUR'],
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    before: before?.['STORE_FLAVOUR'] as StoreFlavour | undefined,
  })
  say(`  store: ${choice.flavour === 'minio' ? 'MinIO' : 'VersityGW'}, because ${choice.why}`)
  makeFolders(layout)
  const live = liveState(runDir)
  const kept = readPorts(runDir)
  const ours = new Set(live === undefined || kept === undefined ? [] : listPorts(kept))
  const ports = await choosePorts({ runDir, scale, wellKnown: paths.isDefault, ours })
  const known = { paths, layout, ports, secrets, settings, scale, flavour: choice.flavour }
  // Before minutes are spent on anything else.
  const config = planConfig(known)
  const programs = await installPrograms(paths.toolsDir, choice)
  const { flavour } = programs.store
  const signatures = await prepareSignatures({
    source,
    root: layout.signatures,
    freshclam: programs.freshclam,
  })
  if (signatures.set === 'test') warnOfTestSet(signatures.trouble)
  saveSettings(runDir, { ...settings, STORE_FLAVOUR: flavour, SIGNATURE_SET: signatures.set })
  const input: PlanInput = { ...known, flavour, programs, signatures }
  await bringUp(input, how)
  const there = readNativeAccess(paths)
  await step('EICAR canary through bucket, queue, engine and action', () =>
    runCanary(there, { tags: config.tags, deletes: config.actions.delete, timeoutMs: 30_000 }),
  )
}

/** The programs of the native runtime; those that are not there are installed, or built into `toolsDir`. */
export async function installPrograms(toolsDir: string, choice: FlavourChoice): Promise<Programs> {
  const path = process.env['PATH']
  const found = () => ({
    rabbitmq: findRabbitmq(),
    clamd: findProgram('clamd', path),
    freshclam: findProgram('freshclam', path),
  })
  let programs = found()
  const packages = missingPackages({
    rabbitmq: programs.rabbitmq !== undefined && findProgram('epmd', path) !== undefined,
    clamd: programs.clamd !== undefined,
    freshclam: programs.freshclam !== undefined,
  })
  if (packages.length > 0) {
    await installPackages(packages)
    programs = found()
  }
  const { rabbitmq, clamd, freshclam } = programs
  if (rabbitmq === undefined || clamd === undefined || freshclam === undefined)
    throw new FatalError(
      `apt has installed ${packages.join(', ')}, yet a program of it is not found`,
      'apt-get install --reinstall of those packages; their programs must lie below /usr',
    )
  return { rabbitmq, clamd, freshclam, store: await installStore(choice, toolsDir) }
}

/** Broker before topology before store before bucket rule: a store loses an event that cannot be routed. */
async function bringUp(input: PlanInput, how: 'deploy' | 'start'): Promise<void> {
  const { paths, layout } = input
  const { runDir } = layout
  const base = baseEnvironment(paths)
  const failed: [string, () => Promise<unknown>][] = []
  /** What was deployed before has queues, users and buckets: a start leaves nothing down that can run without this. */
  const prepare = async (title: string, action: () => Promise<unknown>, hint = '') => {
    try {
      await step(title, action, hint)
    } catch (error) {
      if (how === 'deploy') throw error
      say(
        `  ${describeError(error)}; the other parts are started all the same, then this is tried again`,
      )
      failed.push([title, action])
    }
  }
  await step('certificates', () => runInit(input, 'certificates'))
  const plan = planChildren(input)
  const wanted = [...plan.first, ...plan.store, ...plan.services].map(({ name }) => name)
  const isRunning = () =>
    liveState(runDir) === undefined ? [] : (readSpec(runDir)?.children ?? [])
  const apply = (children: readonly ChildSpec[]) => {
    // What comes later and runs goes on in its old form until it is its turn, or in its new one when a step is tried again.
    const running = isRunning()
    const later = running.filter(
      ({ name }) => wanted.includes(name) && !children.some((child) => child.name === name),
    )
    return applySpec([...children, ...later], { runDir, base })
  }
  await prepare(
    'RabbitMQ and clamd',
    () => Promise.all([apply(plan.first), checkServices([...plan.store, ...plan.services])]),
    isRunning().length > 0 ? '' : 'some 15 s',
  )
  await prepare('exchanges, queues and broker users', () => runInit(input, 'broker'))
  const isAudited = plan.store.length > 1
  await prepare(isAudited ? 'object store, and what takes its audit log' : 'object store', () =>
    apply([...plan.first, ...plan.store]),
  )
  await prepare('buckets, users and the event rule', () => runInit(input, 'object-store'))
  const count = input.scale === 1 ? 'one worker' : `${input.scale} workers`
  await prepare(`${count}, the notifier and the reconciler`, () =>
    apply([...plan.first, ...plan.store, ...plan.services]),
  )
  for (const [title, action] of failed) await step(`again: ${title}`, action)
}

/**
 * Each service with its own environment as far as its configuration. What Node has read is in its compile cache from then on,
 * and a service that finds its modules there holds 20 MB less: it does not load what strips the types.
 */
async function checkServices(services: readonly ChildSpec[]): Promise<void> {
  const ours = services.filter(({ name }) => name !== 'store')
  const ofEach = new Map(ours.map((child) => [child.command.at(-1), child]))
  for (const { name, command, env, cwd } of ofEach.values()) {
    const outcome = await runCommand([...command, '--check-config'], { env, cwd })
    if (outcome.code !== 0)
      throw new FatalError(
        `the ${name} would not start:\n    ${lastWords(outcome, 10)}`,
        'mend what it names, then make deploy again',
      )
  }
}

async function runInit(
  input: PlanInput,
  what: 'certificates' | 'broker' | 'object-store',
): Promise<void> {
  const outcome = await runCommand(
    [process.execPath, join(input.paths.root, 'services/init/main.ts'), what],
    {
      env: initEnvironment(input),
      cwd: input.layout.runDir,
    },
  )
  if (outcome.code !== 0)
    throw new FatalError(
      `init ${what} ended with ${outcome.code}:\n    ${lastWords(outcome, 10)}`,
      'mend what it names, then make deploy again',
    )
}

async function clean(paths: Paths): Promise<void> {
  const { runDir, toolsDir, isDefault } = paths
  requireOwnFolder(paths)
  const count = await step('stopping everything', () => stopSupervision(runDir))
  rmSync(socketFallback(runDir), { recursive: true, force: true })
  await emptyRunFolder(paths)
  removeAbandonedBuilds(toolsDir)
  say(`  removed: ${count} processes and ${isDefault ? 'what they had in ' : ''}${runDir}`)
}
