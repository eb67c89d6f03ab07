// The Docker runtime: the compose file of this checkout on the engine that `docker` talks to.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { allEndpoints, maskedUrl } from '../shared/config-schema.ts'
import { FatalError } from '../shared/errors.ts'
import { runCanary } from './canary.ts'
import {
  caFile,
  composeAttached,
  composeLines,
  deploymentFile,
  projectName,
  readDeployment,
  writeDeployment,
  type ComposeOptions,
  type Deployment,
} from './compose-command.ts'
import { listContainers, metricsOf, partsOf, renderComposeLine, serviceOf } from './docker-parts.ts'
import {
  bindAddress,
  composeVariables,
  dockerConfig,
  planDocker,
  takeSettings,
} from './docker-plan.ts'
import {
  askEngine,
  awaitReady,
  bringUp,
  choosePorts,
  clean,
  fetchImages,
  hostPorts,
  run,
  saveCa,
} from './docker-steps.ts'
import type { Paths } from './paths.ts'
import { runAttached } from './run-command.ts'
import { insideScript, notRunning, type Access, type Runtime } from './runtime.ts'
import { say, step } from './say.ts'
import { ensureSecrets, readSecrets, type Secrets } from './secrets.ts'
import type { Settings } from './settings.ts'
import { warnOfTestSet } from './signatures.ts'

export function createDockerRuntime(paths: Paths): Runtime {
  const project = projectName(paths)
  const folder = join(paths.root, 'docker-compose')
  const variables = composeVariables(
    readdirSync(folder)
      .filter((name) => /^compose.*\.yaml$/.test(name))
      .map((name) => readFileSync(join(folder, name), 'utf8')),
  )
  const optionsOf = (deployment: Deployment): ComposeOptions => ({
    paths,
    project,
    deployment,
    variables,
  })
  const deployed = () => {
    const deployment = readDeployment(paths)
    const secrets = readSecrets(paths.envFile)
    if (deployment === undefined || secrets === undefined)
      throw new FatalError('nothing is deployed here with Docker', 'RUNTIME=docker make deploy')
    return { deployment, secrets, options: optionsOf(deployment) }
  }
  const access = () => {
    const { deployment, secrets } = deployed()
    return accessOf(paths, deployment, secrets)
  }

  async function deploy(settings: Settings): Promise<void> {
    const { secrets, created } = ensureSecrets(paths.envFile)
    if (created) say(`  secrets: generated into ${paths.envFile}`)
    const before = readDeployment(paths)
    const ports = await choosePorts(paths, settings, secrets, before)
    const plan = planDocker({
      folder,
      configFile: paths.configFile,
      settings,
      secrets,
      engine: await askEngine(),
    })
    for (const line of plan.sums) say(`  ${line}`)
    if (plan.signatureSet === 'test') warnOfTestSet()
    const image = paths.isDefault ? {} : { APP_IMAGE: project }
    const env = { ...plan.env, ...ports, ...image }
    const deployment: Deployment = { files: plan.files, env, settings }
    const options = optionsOf(deployment)
    await step('images', () => fetchImages(options), 'the first time some minutes')
    await step('our own images', () => run(options, ['build', '--quiet'], 'docker compose build'))
    writeDeployment(paths, deployment)
    await step(
      'certificates, broker, topology, store, bucket rule, workers',
      () => bringUp(options),
      'some 40 s',
    )
    await saveCa(paths, project)
    const patience = plan.signatureSet === 'test' ? 180_000 : 1_200_000
    await step('waiting until every part is ready', () => awaitReady(project, patience))
    const config = dockerConfig(paths.configFile, settings, secrets)
    await step('EICAR canary through bucket, queue, engine and action', () =>
      runCanary(access(), {
        tags: config.tags,
        deletes: config.actions.delete,
        timeoutMs: 30_000,
      }),
    )
  }

  return {
    name: 'docker',
    deploy: () => deploy(takeSettings(process.env, variables)),
    start: () => deploy(deployed().deployment.settings),
    exists: async () =>
      existsSync(deploymentFile(paths)) && (await listContainers(project)).length > 0,
    stop: async () => {
      const { options } = deployed()
      await step('stopping', () => run(options, ['stop'], 'docker compose stop'))
    },
    clean: () => clean(paths, project),
    access: () => Promise.resolve(access()),
    parts: async () => partsOf(await listContainers(project)),
    metrics: async () => metricsOf(await listContainers(project)),
    endpoints: () => {
      const { deployment, secrets } = deployed()
      const config = dockerConfig(paths.configFile, deployment.settings, secrets)
      return Promise.resolve(
        allEndpoints(config).map(({ name, url }) => ({
          name: name || 'PUBLISH_URL',
          url: maskedUrl(url),
        })),
      )
    },
    logs: async ({ follow, lines, parts }) => {
      const { options } = deployed()
      const args = ['logs', '--no-color', '--tail', String(lines), ...(follow ? ['--follow'] : [])]
      const code = await composeLines(options, [...args, ...parts.map(serviceOf)], (line) =>
        process.stdout.write(`${renderComposeLine(line)}\n`),
      )
      if (code !== 0)
        throw new FatalError(
          `docker compose logs ended with ${code}`,
          'make status names the parts there are',
        )
    },
    inside: async (part, args) => {
      const found = (await listContainers(project)).find(({ service }) => service === part)
      if (found?.state !== 'running') throw notRunning(part)
      // Without a terminal `docker exec` passes no signal on: the command then goes on to its end.
      const terminal = process.stdin.isTTY && process.stdout.isTTY ? ['-it'] : []
      return runAttached(['docker', 'exec', ...terminal, found.id, 'node', insideScript, ...args])
    },
    demo: () => {
      const { options } = deployed()
      const terminal = process.stdout.isTTY ? [] : ['--no-TTY']
      const flags = ['--rm', '--no-deps', '--use-aliases', '--quiet-pull', ...terminal]
      return composeAttached(options, ['run', ...flags, 'demo'])
    },
  }
}

function accessOf(paths: Paths, deployment: Deployment, secrets: Secrets): Access {
  const config = dockerConfig(paths.configFile, deployment.settings, secrets)
  const port = (name: keyof typeof hostPorts) => deployment.env[name] ?? String(hostPorts[name])
  const bind = bindAddress(
    (deployment.settings['BIND_ADDRESS'] ?? secrets['BIND_ADDRESS']) || undefined,
  )
  const host = bind.isAny ? '127.0.0.1' : bind.published
  const endpoint = `https://${host}:${port('STORE_PORT')}`
  const management = `https://127.0.0.1:${port('RABBITMQ_MANAGEMENT_HOST_PORT')}`
  const pair = (user: string, password: string) => ({
    user: secrets[user] ?? '',
    password: secrets[password] ?? '',
  })
  return {
    endpoint,
    region: config.store.region,
    bucket: config.store.buckets[0] ?? '',
    buckets: config.store.buckets,
    caFile: caFile(paths),
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
      { name: 'S3', where: `${endpoint}  bucket ${config.store.buckets.join(', ')}` },
      { name: 'store console', where: `https://127.0.0.1:${port('CONSOLE_PORT')}/` },
      {
        name: 'RabbitMQ management',
        where: `${management}/  user ${secrets['RABBITMQ_DEFAULT_USER'] ?? ''}`,
      },
      { name: 'CA of all certificates', where: caFile(paths) },
      { name: 'passwords', where: `${paths.envFile} (readable by you alone)` },
    ],
    demo: { host: 'demo', port: 8099, secret: secrets['DEMO_SECRET'] ?? '' },
  }
}
