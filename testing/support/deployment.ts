// Whole deployments for the acceptance suite: native ones with run folder and ports of their own, or, with ACCEPTANCE_ENV,
// one of another runtime. They are brought up by the same command that people use.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { projectName } from '../../services/cli/compose-command.ts'
import { findPaths } from '../../services/cli/paths.ts'
import { parseEnvFile } from '../../services/cli/secrets.ts'
import { stopSupervision, liveState } from '../../services/cli/supervision.ts'
import { readSpec } from '../../services/cli/spec.ts'
import { fetchText } from '../../services/cli/readiness.ts'
import { sendSignal } from '../../services/cli/processes.ts'
import type { StoreFlavour } from '../../services/cli/store-process.ts'
import { eventually } from './eventually.ts'
import { noMinio } from './real-store.ts'
import { readSecrets } from '../../services/cli/secrets.ts'
import { createUploader, type Uploader, type UploaderOptions } from './uploader.ts'

const root = resolve(import.meta.dirname, '../..')
const main = join(root, 'services/cli/main.ts')

export interface Deployment {
  uploader: UploaderOptions
  /** Sends a signal to a part (`avscan-1`, `notifier`, `broker`, `store`, `engine`) and resolves; it comes back by itself. */
  kill?: (name: string, signal: NodeJS.Signals) => Promise<void>
  /** The same, and resolves when it is ready again. */
  restart?: (name: string, signal?: NodeJS.Signals) => Promise<void>
  /** The /metrics text of a worker or the notifier. */
  metrics?: (name: string) => Promise<string>
  stop(): Promise<void>
}

export interface NativeDeployment extends Required<Deployment> {
  runDir: string
  /** The environment that makes the command line mean this deployment. */
  env: Record<string, string>
}

/** The store's administrator: whom no policy stops, and another uploader than the application. */
export function storeRoot({ env, uploader }: Pick<NativeDeployment, 'env' | 'uploader'>): Uploader {
  const secrets = readSecrets(findPaths(env).envFile) ?? {}
  return createUploader({
    ...uploader,
    accessKey: secrets['MINIO_ROOT_USER'] ?? '',
    secretKey: secrets['MINIO_ROOT_PASSWORD'] ?? '',
  })
}

export interface DeploymentPlan {
  title: string
  /** Why it cannot be opened on this machine. */
  skip: string | undefined
  /** Where a webhook receiver must listen, and the name under which the notifier reaches it. */
  receiverHost: string
  receiverName: string
  open(env: Record<string, string>): Promise<Deployment>
}

/** Every deployment that this machine can have; those it cannot say why. */
export function openDeployments(): DeploymentPlan[] {
  const attached = process.env['ACCEPTANCE_ENV']
  if (attached !== undefined && attached !== '') return [attachedPlan(attached)]
  const local = { receiverHost: '127.0.0.1', receiverName: '127.0.0.1' }
  return [
    {
      ...local,
      title: 'the native runtime with MinIO',
      skip: noMinio,
      open: (env) => deployNative({ flavour: 'minio', env }),
    },
    {
      ...local,
      title: 'the native runtime with VersityGW',
      skip: undefined,
      open: (env) => deployNative({ flavour: 'versitygw', env }),
    },
  ]
}

let counter = 0

/** Deploys into a run folder of its own; `stop` removes it wholly. */
export async function deployNative(options: {
  flavour: StoreFlavour
  env?: Record<string, string>
  runDir?: string
}): Promise<NativeDeployment> {
  await removeAbandoned()
  const runDir = options.runDir ?? join(root, `.run/deployment-${process.pid}-${counter++}`)
  mkdirSync(runDir, { recursive: true, mode: 0o700 })
  // Nothing of the caller's shell may reach it: settings there are meant for the real deployment.
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '',
    HOME: process.env['HOME'] ?? '/',
    RUNTIME: 'native',
    RUN_DIR: runDir,
    STORE_FLAVOUR: options.flavour,
    SIGNATURES: 'test',
    ...options.env,
  }
  const end = () => {
    const live = liveState(runDir)
    if (live !== undefined) sendSignal(live.pid, 'SIGTERM')
  }
  process.once('exit', end)
  const stop = async () => {
    process.removeListener('exit', end)
    await runCli(['clean', '--yes'], env)
  }
  try {
    await runCli(['deploy'], env)
    return { ...(await controls(runDir, env)), runDir, env, stop }
  } catch (error) {
    await stop().catch(() => {})
    throw error
  }
}

async function controls(
  runDir: string,
  env: Record<string, string>,
): Promise<Omit<NativeDeployment, 'runDir' | 'env' | 'stop'>> {
  const stateOf = (name: string) => {
    const state = liveState(runDir)?.children.find((child) => child.name === name)
    if (state === undefined) throw new Error(`the deployment has no part "${name}"`)
    return state
  }
  const kill = (name: string, signal: NodeJS.Signals) => {
    const { pid } = stateOf(name)
    if (pid === undefined) throw new Error(`${name} does not run`)
    process.kill(-pid, signal)
    return Promise.resolve()
  }
  return {
    uploader: readUploader(await runCli(['env'], env)),
    kill,
    restart: async (name, signal = 'SIGTERM') => {
      const before = stateOf(name).restarts
      await kill(name, signal)
      await eventually(() => stateOf(name).restarts > before && stateOf(name).phase === 'running', {
        timeoutMs: 60_000,
        everyMs: 100,
      })
    },
    metrics: async (name) => {
      const ready = readSpec(runDir)?.children.find((child) => child.name === name)?.ready
      if (ready?.kind !== 'http') throw new Error(`${name} has no /metrics`)
      const answer = await fetchText(ready.url.replace('/readyz', '/metrics'))
      if (answer?.ok !== true) throw new Error(`${name} does not answer`)
      return answer.text
    },
  }
}

/** What a run that was killed left behind. */
async function removeAbandoned(): Promise<void> {
  const folder = join(root, '.run')
  mkdirSync(folder, { recursive: true })
  for (const entry of readdirSync(folder)) {
    const pid = Number(/^deployment-(\d+)-\d+$/.exec(entry)?.[1] ?? process.pid)
    if (pid === process.pid || isAlive(pid)) continue
    await stopSupervision(join(folder, entry))
    unmountBelow(join(folder, entry))
    rmSync(join(folder, entry), { recursive: true, force: true })
  }
}

/** A fault suite that was killed may have left a small volume mounted there. */
function unmountBelow(folder: string): void {
  for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
    const [, place = ''] = line.split(' ')
    if (place.startsWith(`${folder}/`)) execFileSync('umount', ['--lazy', place])
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** ACCEPTANCE_ENV's file: how another runtime is reached. It is deployed again with the suite's settings, and left running. */
interface Attachment {
  title: string
  /** RUNTIME, image overrides and the like. */
  env: Record<string, string>
  receiverHost: string
  receiverName: string
}

function attachedPlan(file: string): DeploymentPlan {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const attachment = JSON.parse(readFileSync(file, 'utf8')) as Attachment
  const { title, receiverHost, receiverName } = attachment
  return {
    title,
    skip: undefined,
    receiverHost,
    receiverName,
    open: async (settings) => {
      const env = {
        PATH: process.env['PATH'] ?? '',
        HOME: process.env['HOME'] ?? '/',
        ...attachment.env,
        ...settings,
      }
      await runCli(['deploy'], env)
      return {
        uploader: readUploader(await runCli(['env'], env)),
        kill: (name, signal) => killContainer(projectName(findPaths(env)), name, signal),
        stop: () => Promise.resolve(),
      }
    },
  }
}

const docker = (...args: string[]) => execFileSync('docker', args, { encoding: 'utf8' }).trim()

/**
 * Signals the first process of a worker's container from outside: `docker kill` counts as a stop by hand, which the
 * restart policy respects.
 */
function killContainer(project: string, name: string, signal: NodeJS.Signals): Promise<void> {
  const [, number = '1'] = /^avscan-(\d+)$/.exec(name) ?? []
  const labels = [`project=${project}`, 'service=avscan-script', `container-number=${number}`]
  const filters = labels.flatMap((label) => ['--filter', `label=com.docker.compose.${label}`])
  const id = docker('ps', '--quiet', ...filters)
  process.kill(Number(docker('inspect', '--format', '{{.State.Pid}}', id)), signal)
  return Promise.resolve()
}

function readUploader(exports: string): UploaderOptions {
  const values = parseEnvFile(exports)
  return {
    endpoint: values['AWS_ENDPOINT_URL'] ?? '',
    caFile: values['AWS_CA_BUNDLE'] ?? '',
    region: values['AWS_REGION'] ?? '',
    bucket: values['BUCKET'] ?? '',
    accessKey: values['AWS_ACCESS_KEY_ID'] ?? '',
    secretKey: values['AWS_SECRET_ACCESS_KEY'] ?? '',
  }
}

/** Runs the project's command to its end and returns its standard output. @throws Error with all it said when it fails. */
export async function runCli(
  args: readonly string[],
  env: Record<string, string>,
): Promise<string> {
  return (await runCommandLine(args, env)).stdout
}

/** The same; `all` is standard error and output as they came. */
export function runCommandLine(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ stdout: string; all: string }> {
  return new Promise((done, reject) => {
    const child = spawn(process.execPath, [main, ...args], {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stdout = ''
    let all = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk
      all += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (all += chunk))
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) done({ stdout, all })
      else reject(new Error(`${args.join(' ')} ended with ${code}:\n${all}`))
    })
  })
}
