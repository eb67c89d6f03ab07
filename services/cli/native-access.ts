// What a client of a native deployment needs, and what its parts are doing, read from RUN_DIR and asked from the parts.
import { allEndpoints, maskedUrl } from '../shared/config-schema.ts'
import { FatalError } from '../shared/errors.ts'
import { storeVersion } from './install-store.ts'
import { layoutOf } from './layout.ts'
import { planConfig } from './native-plan.ts'
import type { Paths } from './paths.ts'
import { readPorts } from './ports.ts'
import { parseReady } from './ready-facts.ts'
import { fetchText } from './readiness.ts'
import { lastWords, runCommand } from './run-command.ts'
import type { Access, Part } from './runtime.ts'
import { readSecrets } from './secrets.ts'
import { parseScale, readSettings } from './settings.ts'
import { readSpec, type ChildSpec, type ChildState } from './spec.ts'
import type { StoreFlavour } from './store-process.ts'
import { liveState } from './supervision.ts'

export type NativeAccess = Access & {
  endpoints: { name: string; url: string }[]
  flavour: StoreFlavour
}

/** @throws FatalError when nothing is deployed. */
export function readNativeAccess(paths: Paths): NativeAccess {
  const { runDir } = paths
  const settings = readSettings(runDir)
  const ports = readPorts(runDir)
  const secrets = readSecrets(paths.envFile)
  if (settings === undefined || ports === undefined || secrets === undefined)
    throw new FatalError('nothing is deployed here', 'make deploy')
  const layout = layoutOf(runDir)
  const flavour = settings['STORE_FLAVOUR'] === 'minio' ? 'minio' : 'versitygw'
  const config = planConfig({
    paths,
    layout,
    ports,
    secrets,
    settings,
    scale: parseScale(settings['SCALE']),
    flavour,
  })
  const pair = (user: string, password: string) => ({
    user: secrets[user] ?? '',
    password: secrets[password] ?? '',
  })
  const management = `https://127.0.0.1:${ports.management}`
  return {
    endpoint: config.store.url,
    region: config.store.region,
    bucket: config.store.buckets[0] ?? '',
    buckets: config.store.buckets,
    caFile: layout.caFile,
    uploader: pair('MINIO_USER_NAME', 'MINIO_USER_PASSWORD'),
    canary: pair('CANARY_STORE_USER', 'CANARY_STORE_PASSWORD'),
    root: pair('MINIO_ROOT_USER', 'MINIO_ROOT_PASSWORD'),
    recordsBucket: config.records.bucket,
    management: {
      url: management,
      vhost: config.broker.vhost,
      ...pair('RABBITMQ_DEFAULT_USER', 'RABBITMQ_DEFAULT_PASS'),
    },
    places: [
      { name: 'S3', where: `${config.store.url}  bucket ${config.store.buckets.join(', ')}` },
      ...(flavour === 'minio'
        ? [{ name: 'MinIO console', where: `https://127.0.0.1:${ports.storeConsole}/` }]
        : []),
      {
        name: 'RabbitMQ management',
        where: `${management}/  user ${secrets['RABBITMQ_DEFAULT_USER'] ?? ''}`,
      },
      { name: 'CA of all certificates', where: layout.caFile },
      { name: 'passwords', where: `${paths.envFile} (readable by you alone)` },
      { name: 'data and logs', where: runDir },
    ],
    demo: { host: '127.0.0.1', port: ports.demo, secret: secrets['DEMO_SECRET'] ?? '' },
    endpoints: allEndpoints(config).map(({ name, url }) => ({
      name: name === '' ? 'PUBLISH_URL' : name,
      url: maskedUrl(url),
    })),
    flavour,
  }
}

const states: Record<ChildState['phase'], Part['state']> = {
  waiting: 'starting',
  starting: 'starting',
  running: 'running',
  stopping: 'stopped',
  failed: 'failed',
}

export async function nativeParts(paths: Paths): Promise<Part[]> {
  const spec = readSpec(paths.runDir)
  const live = liveState(paths.runDir)
  const children = spec?.children ?? []
  return Promise.all(
    children.map((child) =>
      partOf(
        child,
        live?.children.find(({ name }) => name === child.name),
      ),
    ),
  )
}

async function partOf(child: ChildSpec, state: ChildState | undefined): Promise<Part> {
  const { name } = child
  if (state === undefined) return { name, state: 'stopped' }
  const part: Part = {
    name,
    state: states[state.phase],
    ...(state.pid === undefined ? {} : { pid: state.pid }),
  }
  const details =
    state.restarts > 0
      ? [
          `restarted ${state.restarts} times${state.lastEnd === undefined ? '' : `, last: ${state.lastEnd}`}`,
        ]
      : []
  const version = await versionOf(child)
  if (version !== undefined) part.version = version
  if (child.ready.kind === 'http' && child.ready.url.endsWith('/readyz')) {
    const answer = await fetchText(child.ready.url)
    const ready = answer === undefined ? undefined : parseReady(answer.text)
    if (ready?.version !== undefined) part.version = ready.version
    if (ready !== undefined) part.facts = ready.facts
    if (answer === undefined) part.state = part.state === 'running' ? 'failed' : part.state
    else if (!answer.ok) part.state = 'starting'
    details.push(...(answer === undefined ? ['does not answer'] : (ready?.reasons ?? [])))
  }
  if (details.length > 0) part.detail = details.join('; ')
  return part
}

async function versionOf({ name, command }: ChildSpec): Promise<string | undefined> {
  const [program = ''] = command
  if (name === 'store') return storeVersion(program)
  if (name === 'engine' || name === 'freshclam')
    return /ClamAV [\d.]+/.exec(lastWords(await runCommand([program, '--version'])))?.[0]
  return undefined
}
