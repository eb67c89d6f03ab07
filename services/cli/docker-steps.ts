// The steps of a Docker deployment: images, bringing up, waiting, cleaning, each with a plain sentence when it fails.
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FatalError } from '../shared/errors.ts'
import { caFile, compose, type ComposeOptions, type Deployment } from './compose-command.ts'
import { listContainers, partsOf } from './docker-parts.ts'
import type { EngineFacts } from './docker-plan.ts'
import type { Paths } from './paths.ts'
import { lastWords, runCommand } from './run-command.ts'
import { say, step } from './say.ts'
import type { Secrets } from './secrets.ts'
import type { Settings } from './settings.ts'

export const hostPorts = {
  STORE_PORT: 9000,
  CONSOLE_PORT: 9001,
  RABBITMQ_MANAGEMENT_HOST_PORT: 15671,
} as const

export async function run(
  options: ComposeOptions,
  args: readonly string[],
  what: string,
): Promise<void> {
  const outcome = await compose(options, args)
  if (outcome.code !== 0)
    throw new FatalError(`${what} ended with ${outcome.code}:\n    ${lastWords(outcome, 12)}`, hint)
}

const hint = 'mend what it names, then make deploy again'

export async function askEngine(): Promise<EngineFacts> {
  const format = '{{.NCPU}} {{.MemTotal}} {{.DockerRootDir}}'
  const { code, stdout, stderr } = await runCommand(['docker', 'info', '--format', format])
  const [cores = '', memory = '', root = ''] = stdout.trim().split(' ')
  if (code !== 0 || cores === '')
    throw new FatalError(
      `docker info fails: ${stderr.trim().split('\n')[0] ?? ''}`,
      'start the Docker engine, or set RUNTIME=native',
    )
  const disk = await statfs(root).catch(() => undefined)
  return {
    cores: Number(cores),
    memoryBytes: Number(memory),
    diskBytes: disk === undefined ? undefined : disk.bavail * disk.bsize,
  }
}

/** Pulls what is not there, one image after the other, so that the one that fails can be named. */
export async function fetchImages(options: ComposeOptions): Promise<void> {
  const { stdout } = await compose(options, ['config', '--format', 'json'])
  const { services = {} } = JSON.parse(stdout || '{}') as {
    services?: Record<string, { image?: string; build?: { args?: Record<string, string> } }>
  }
  const images = Object.values(services).flatMap(({ image, build }) =>
    build === undefined ? [image ?? ''] : Object.values(build.args ?? {}),
  )
  for (const image of new Set(images)) {
    if ((await runCommand(['docker', 'image', 'inspect', image])).code === 0) continue
    const outcome = await runCommand(['docker', 'pull', '--quiet', image])
    if (outcome.code === 0) continue
    throw new FatalError(
      `the Docker engine cannot pull ${image}: ${lastWords(outcome, 1)}`,
      'set RUNTIME=native, or name another image with MINIO_IMAGE, MC_IMAGE, RABBITMQ_IMAGE, CLAMAV_IMAGE, CLAMAV_REST_IMAGE or NODE_IMAGE',
    )
  }
}

export async function bringUp(options: ComposeOptions): Promise<void> {
  const outcome = await compose(options, ['up', '--detach', '--no-build', '--remove-orphans'])
  if (outcome.code === 0) return
  const culprit =
    /service "([a-z-]+)" didn't complete|dependency failed to start: container \S*?-((?:mq|minio|clamd|openssl|avscan)[a-z-]+)-\d+/.exec(
      outcome.stderr,
    )
  const service = culprit?.[1] ?? culprit?.[2]
  const said =
    service === undefined
      ? lastWords(outcome, 8)
      : lastWords(
          await compose(options, [
            'logs',
            '--no-color',
            '--no-log-prefix',
            '--tail',
            '12',
            service,
          ]),
          12,
        )
  throw new FatalError(`${service ?? 'docker compose up'} failed:\n    ${said}`, hint)
}

export async function saveCa(paths: Paths, project: string): Promise<void> {
  const store = (await listContainers(project)).find(({ service }) => service === 'minio-service')
  const target = caFile(paths)
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 })
  const source = `${store?.id ?? ''}:/opt/av-scan/certs/trust/ca.pem`
  const outcome = await runCommand(['docker', 'cp', source, target])
  if (outcome.code !== 0)
    throw new FatalError(`copy the CA out of the store's container: ${lastWords(outcome, 2)}`, hint)
}

export async function awaitReady(project: string, patienceMs: number): Promise<void> {
  const deadline = Date.now() + patienceMs
  for (;;) {
    const parts = await partsOf(await listContainers(project))
    const bad = parts.filter(({ state }) => state !== 'running')
    if (bad.length === 0 && parts.length > 0) return
    if (Date.now() > deadline)
      throw new FatalError(
        bad
          .map(
            ({ name, state, detail }) =>
              `${name} is ${state}${detail === undefined ? '' : `: ${detail}`}`,
          )
          .join('\n    '),
        'RUNTIME=docker make logs shows why',
      )
    await sleep(1000)
  }
}

/** Works without the secrets file and the compose files' variables: by the project's label alone. */
export async function clean(paths: Paths, project: string): Promise<void> {
  const before = await listContainers(project)
  const down = ['down', '--volumes', '--remove-orphans', '--timeout', '20']
  const outcome = await step(`removing the containers, networks and volumes of ${project}`, () =>
    runCommand(['docker', 'compose', '--project-name', project, ...down], {
      cwd: dirname(paths.root),
    }),
  )
  if (outcome.code !== 0)
    throw new FatalError(
      `docker compose down ended with ${outcome.code}: ${lastWords(outcome)}`,
      hint,
    )
  // Compose forgets a volume whose name held another size.
  const filter = `label=com.docker.compose.project=${project}`
  const { stdout } = await runCommand(['docker', 'volume', 'ls', '--quiet', '--filter', filter])
  const volumes = stdout.split('\n').filter((name) => name !== '')
  if (volumes.length > 0) await runCommand(['docker', 'volume', 'rm', ...volumes])
  for (const image of [project, `${project}-init`]) await runCommand(['docker', 'rmi', image])
  rmSync(join(paths.runDir, 'docker'), { recursive: true, force: true })
  if (existsSync(paths.runDir) && readdirSync(paths.runDir).length === 0) rmdirSync(paths.runDir)
  say(`  removed: ${before.length} containers, their volumes and our images; images of others stay`)
}

/** The well-known ports for the checkout's own deployment, free ones for the others; kept while it lives. */
export async function choosePorts(
  paths: Paths,
  settings: Settings,
  secrets: Secrets,
  before: Deployment | undefined,
): Promise<Record<string, string>> {
  const ports: Record<string, string> = {}
  for (const [name, wellKnown] of Object.entries(hostPorts)) {
    const asked = (settings[name] ?? secrets[name]) || before?.env[name]
    ports[name] = asked ?? String(await freePort(paths.isDefault ? wellKnown : 0))
  }
  return ports
}

/** `wanted` when nobody has it, else any. */
async function freePort(wanted: number): Promise<number> {
  return (await listenOnce(wanted)) ?? (await listenOnce(0)) ?? wanted
}

function listenOnce(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
      .once('error', () => resolve(undefined))
      .listen(port, '127.0.0.1', () => {
        const address = server.address()
        server.close(() =>
          resolve(typeof address === 'object' && address !== null ? address.port : undefined),
        )
      })
  })
}
