// What the containers of a deployment are doing, in the words of `make status`.
import { renderLine } from './logs.ts'
import { parseReady } from './ready-facts.ts'
import { runCommand } from './run-command.ts'
import type { Part } from './runtime.ts'

export interface Container {
  id: string
  service: string
  number: number
  image: string
  state: string
  health: string
  exitCode: number
}

const names: Record<string, string> = {
  'mq-service': 'broker',
  'minio-service': 'store',
  'clamd-service': 'engine',
  notifier: 'notifier',
  reconciler: 'reconciler',
  'store-audit': 'store-audit',
}
/** Those with /readyz and /metrics. */
const ours = new Set(['avscan-script', 'notifier', 'reconciler', 'store-audit'])

export function partName({ service, number }: Pick<Container, 'service' | 'number'>): string {
  return service === 'avscan-script' ? `avscan-${number}` : (names[service] ?? service)
}

/** The service behind a part's name, for `make logs ARGS=avscan`. */
export function serviceOf(part: string): string {
  if (/^avscan(-\d+)?$/.test(part)) return 'avscan-script'
  return Object.entries(names).find(([, name]) => name === part)?.[0] ?? part
}

export async function listContainers(project: string): Promise<Container[]> {
  const label = `label=com.docker.compose.project=${project}`
  const found = await runCommand([
    'docker',
    'ps',
    '--all',
    '--quiet',
    '--no-trunc',
    '--filter',
    label,
  ])
  const ids = found.stdout.split('\n').filter((id) => id !== '')
  if (ids.length === 0) return []
  const inspected = await runCommand(['docker', 'inspect', ...ids])
  return (JSON.parse(inspected.stdout || '[]') as Inspected[])
    .map(containerOf)
    .filter(({ number }) => number > 0)
    .toSorted((a, b) => a.service.localeCompare(b.service) || a.number - b.number)
}

interface Inspected {
  Id: string
  Config: { Image: string; Labels: Record<string, string> }
  State: { Status: string; ExitCode: number; Health?: { Status: string } }
}

function containerOf({ Id, Config, State }: Inspected): Container {
  const oneOff = Config.Labels['com.docker.compose.oneoff'] === 'True'
  return {
    id: Id,
    service: Config.Labels['com.docker.compose.service'] ?? '',
    number: oneOff ? 0 : Number(Config.Labels['com.docker.compose.container-number'] ?? 0),
    image: Config.Image,
    state: State.Status,
    health: State.Health?.Status ?? '',
    exitCode: State.ExitCode,
  }
}

/** One-shot containers, which are done when they have ended well. */
export const isOneShot = ({ service }: Container) => service.endsWith('-init')

export function partsOf(containers: readonly Container[]): Promise<Part[]> {
  const shown = containers.filter((one) => !isOneShot(one) || failed(one))
  return Promise.all(shown.map(partOf))
}

const failed = ({ state, exitCode }: Container) => state === 'exited' && exitCode !== 0

async function partOf(container: Container): Promise<Part> {
  const part: Part = {
    name: partName(container),
    state: stateOf(container),
    version: container.image,
  }
  if (failed(container)) part.detail = `ended with ${container.exitCode}`
  if (!ours.has(container.service) || container.state !== 'running') return part
  const answer = await askInside(container, '/readyz')
  if (answer === undefined) return { ...part, state: 'starting', detail: 'does not answer' }
  const ready = parseReady(answer)
  if (ready === undefined)
    return { ...part, detail: 'does not answer with what /readyz should say' }
  const { version, reasons, facts } = ready
  if (version !== undefined) part.version = version
  part.facts = facts
  part.state = reasons.length === 0 ? 'running' : 'starting'
  if (reasons.length > 0) part.detail = reasons.join('; ')
  return part
}

function stateOf({ state, health, exitCode }: Container): Part['state'] {
  if (state === 'running') return health === '' || health === 'healthy' ? 'running' : 'starting'
  if (state === 'restarting') return 'failed'
  if (state === 'created') return 'starting'
  // 143 and 137: stopped by signal, as `make stop` does.
  return exitCode === 0 || exitCode === 143 || exitCode === 137 ? 'stopped' : 'failed'
}

const script = `fetch('http://127.0.0.1:8080' + process.argv[1]).then((r) => r.text()).then((t) => process.stdout.write(t), () => process.exit(1))`

/** What the process in the container answers on its health port; undefined when it does not. */
async function askInside({ id }: Container, path: string): Promise<string | undefined> {
  const command = ['docker', 'exec', id, 'node', '-e', script, path]
  const { code, stdout } = await runCommand(command, { timeoutMs: 10_000 })
  return code === 0 ? stdout : undefined
}

export async function metricsOf(
  containers: readonly Container[],
): Promise<Map<string, string | undefined>> {
  const asked = containers.filter(({ service, state }) => ours.has(service) && state === 'running')
  return new Map(
    await Promise.all(
      asked.map(async (one) => [partName(one), await askInside(one, '/metrics')] as const),
    ),
  )
}

/** One line of `docker compose logs` as text: `avscan-script-2  | {…}`. */
export function renderComposeLine(line: string): string {
  // Compose erases lines of a terminal that is not there.
  // oxlint-disable-next-line no-control-regex
  const plain = line.replaceAll(/\u001b\[[0-9;]*[A-Za-z]/g, '')
  const [, container = '', text = ''] = /^(\S+)\s+\| ?(.*)$/.exec(plain) ?? []
  if (container === '') return plain
  const [, service = container, number = '1'] = /^(.*)-(\d+)$/.exec(container) ?? []
  return renderLine(partName({ service, number: Number(number) }), text)
}
