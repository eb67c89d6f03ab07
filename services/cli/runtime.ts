// What a runtime (native processes or Docker Compose) must offer to the commands, and which one is used.
// It knows nothing of how either does it: see native.ts and docker.ts.
import { execFile } from 'node:child_process'
import { FatalError } from '../shared/errors.ts'
import type { Paths } from './paths.ts'

export interface Credentials {
  user: string
  password: string
}

/** Everything a client outside the deployment needs; `make env`, demo, smoke and the tests build on it. */
export interface Access {
  endpoint: string
  region: string
  /** The first of `buckets`: where demo, canary and clients upload. */
  bucket: string
  /** All that are scanned. */
  buckets: readonly string[]
  /** PEM file with the CA that signed the certificates, readable on this machine. */
  caFile: string
  uploader: Credentials
  canary: Credentials
  /** The store's own: for `make clean`, which looks into every bucket. */
  root: Credentials
  /** What the scanner writes for itself. */
  recordsBucket: string
  /** RabbitMQ's management API, reachable from this machine. */
  management: { url: string; vhost: string } & Credentials
  /** Names for the ends of the summary: `RabbitMQ management` → `https://127.0.0.1:15671/`. */
  places: { name: string; where: string }[]
  /** Where the demo's webhook receiver listens (native). */
  demo: { host: string; port: number; secret: string }
}

/** What a client needs who uploads, and nothing of ours. */
export type UploaderAccess = Pick<Access, 'endpoint' | 'region' | 'bucket' | 'caFile' | 'uploader'>

export interface Part {
  /** `avscan-1`, `notifier`, `reconciler`, `broker`, `store`, `engine` */
  name: string
  state: 'running' | 'starting' | 'stopped' | 'failed'
  version?: string
  pid?: number
  /** Plain sentence: why it is not ready, how often it was restarted. */
  detail?: string
  /** What it says of itself on /readyz. */
  facts?: Readonly<Record<string, unknown>>
}

export interface Runtime {
  readonly name: 'native' | 'docker'
  /** Brings everything up, or up to date, and returns when every part is ready. Running it again is fine. */
  deploy(): Promise<void>
  /** @throws FatalError when there is no deployment */
  access(): Promise<Access>
  /** Is there a deployment of this runtime (running or stopped)? */
  exists(): Promise<boolean>
  parts(): Promise<Part[]>
  /** The /metrics text of every worker, the notifier and the reconciler, by part; undefined where one does not answer. */
  metrics(): Promise<Map<string, string | undefined>>
  /** Endpoints of the verdicts and whether they are on: from the configuration. */
  endpoints(): Promise<{ name: string; url: string }[]>
  start(): Promise<void>
  stop(): Promise<void>
  /** Removes everything that deploy made. */
  clean(): Promise<void>
  /** Text lines of all parts, or of those named; with `follow` until interrupted. */
  logs(options: { follow: boolean; lines: number; parts: readonly string[] }): Promise<void>
  /**
   * Runs `node services/reconciler/command.ts <args>` as that part would: with its environment, where it reaches broker and store.
   * What it prints is passed through; returns its exit code. @throws FatalError when the part does not run
   */
  inside(part: InsidePart, args: readonly string[]): Promise<number>
  /** Runs the demo where the webhooks can reach it; returns the exit code. */
  demo(): Promise<number>
}

/** Parts that commands for people run in; broker and store may be out of this machine's reach. */
export type InsidePart = 'reconciler'

/** From the root of the checkout, or of the image. */
export const insideScript = 'services/reconciler/command.ts'

export function notRunning(part: InsidePart): FatalError {
  return new FatalError(`the ${part} is not running`, 'make start; make status shows every part')
}

export type RuntimeName = Runtime['name']

export interface Choice {
  name: RuntimeName
  why: string
}

export interface Surroundings {
  forced: string | undefined
  /** Why the Docker engine cannot be used, or undefined when it answers. */
  dockerTrouble: () => Promise<string | undefined>
  platform: NodeJS.Platform
  /** Is there an apt to install from? */
  hasApt: boolean
  /** A deployment that is already there keeps its runtime. */
  deployed: RuntimeName | undefined
}

/** Docker when an engine answers, else native; RUNTIME forces one; what is deployed stays where it is. */
export async function chooseRuntime(around: Surroundings): Promise<Choice> {
  const { forced, deployed } = around
  if (forced !== undefined && forced !== '') {
    if (forced !== 'native' && forced !== 'docker')
      throw new FatalError(
        `RUNTIME=${forced} is not known`,
        'set RUNTIME=docker or RUNTIME=native, or leave it out',
      )
    return { name: forced, why: 'RUNTIME asks for it' }
  }
  if (deployed !== undefined) return { name: deployed, why: 'that is how it is deployed' }
  const trouble = await around.dockerTrouble()
  if (trouble === undefined) return { name: 'docker', why: 'a Docker engine answers' }
  if (around.platform !== 'linux' || !around.hasApt)
    throw new FatalError(
      `no Docker engine answers (${trouble}), and the native runtime needs Debian or Ubuntu`,
      'start Docker (with the compose plugin) and run make deploy again',
    )
  return { name: 'native', why: `no Docker engine answers: ${trouble}` }
}

/** Asks the engine itself; a client without a running engine is no engine. */
export function findDockerTrouble(
  env: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(
      'docker',
      ['version', '--format', '{{.Server.Version}}'],
      { timeout: 10_000, env },
      (error, stdout, stderr) => {
        if (error !== null && 'code' in error && error.code === 'ENOENT')
          return resolve('docker is not installed')
        const version = stdout.trim()
        if (error !== null || version === '' || version === '<nil>')
          return resolve(stderr.trim().split('\n')[0]?.slice(0, 160) || 'docker version fails')
        execFile('docker', ['compose', 'version'], { timeout: 10_000, env }, (missing) =>
          resolve(missing === null ? undefined : 'docker has no compose plugin (docker compose)'),
        )
      },
    )
  })
}

/** The runtime itself; its module is loaded only when it is used. */
export async function openRuntime(name: RuntimeName, paths: Paths): Promise<Runtime> {
  if (name === 'docker') return (await import('./docker.ts')).createDockerRuntime(paths)
  return (await import('./native.ts')).createNativeRuntime(paths)
}
