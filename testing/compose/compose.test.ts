// The compose file on a real Docker engine, with stand-in base images: the acceptance suite against it, and its commands.
// Without an engine everything here is skipped, unless COMPOSE_TESTS=required.
import { expect } from 'chai'
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join, resolve } from 'node:path'
import { findDockerTrouble } from '../../services/cli/runtime.ts'
import { parseEnvFile } from '../../services/cli/secrets.ts'
import { eventually } from '../support/eventually.ts'
import { rejection } from '../support/rejection.ts'
import { runCli } from '../support/deployment.ts'

const root = resolve(import.meta.dirname, '../..')
const standIn = join(root, 'testing/compose/stand-in')
const runDir = join(root, '.run/compose-test')
const trouble = await findDockerTrouble()
const required = process.env['COMPOSE_TESTS'] === 'required'

const env: Record<string, string> = {
  PATH: process.env['PATH'] ?? '',
  HOME: process.env['HOME'] ?? '/',
  RUNTIME: 'docker',
  RUN_DIR: runDir,
  SIGNATURES: 'test',
  ...parseEnvFile(readFileSync(join(standIn, 'images.env'), 'utf8')),
}

function docker(...args: string[]): string {
  return execFileSync('docker', args, { encoding: 'utf8' }).trim()
}

/** Ids of the containers of one service of the deployment. */
function containers(service: string): string[] {
  const project = docker('ps', '--filter', 'name=^avscan-[0-9a-f]{10}-', '--format', '{{.Names}}')
  return project.split('\n').filter((name) => name.includes(`-${service}-`))
}

const inspect = (name: string, format: string) => docker('inspect', '--format', format, name)

if (trouble !== undefined && !required) {
  describe('the compose file', () => {
    it(`runs on a Docker engine (skipped: ${trouble})`, function () {
      this.skip()
    })
  })
} else {
  describe('stand-in images for the compose file', () => {
    it('are built from Debian packages, or still there', async function () {
      this.timeout(900_000)
      expect(trouble, 'the Docker engine').to.equal(undefined)
      const code = await new Promise<number | null>((done) => {
        spawn(join(standIn, 'build.sh'), { stdio: 'inherit' }).once('exit', done)
      })
      expect(code).to.equal(0)
    })
  })

  // Where containers reach this machine, and nobody outside does.
  const bridge = networkInterfaces()['docker0']?.find(({ family }) => family === 'IPv4')
  mkdirSync(runDir, { recursive: true, mode: 0o700 })
  const attachment = join(root, '.run/compose-test.json')
  writeFileSync(
    attachment,
    JSON.stringify({
      title: 'Docker Compose with MinIO',
      env,
      receiverHost: bridge?.address ?? '0.0.0.0',
      receiverName: 'host.docker.internal',
    }),
  )
  process.env['ACCEPTANCE_ENV'] = attachment
  await import('../acceptance/pipeline.test.ts')

  describe('a deployment with Docker Compose', () => {
    it('shows five right verdicts in its demo', async function () {
      this.timeout(180_000)
      const shown = await runCli(['demo'], env)

      expect(shown.match(/\bINFECTED\b/g)).to.have.length.at.least(2)
      expect(shown).to.match(/encrypted\.zip\s.*UNSCANNABLE/)
    })

    it('passes its own smoke test', async function () {
      this.timeout(60_000)
      await runCli(['smoke'], env)
    })

    it('shows every part as running in its status, both workers among them', async function () {
      this.timeout(60_000)
      const status = await runCli(['status'], env)

      for (const part of [
        'broker',
        'store',
        'engine',
        'avscan-1',
        'avscan-2',
        'notifier',
        'reconciler',
        'store-audit',
      ])
        expect(status).to.match(new RegExp(`${part}\\s+running`))
      expect(status).to.contain('EICAR-only TEST SET')
    })

    it('lists dead letters and sweeps from inside the reconciler', async function () {
      this.timeout(240_000)

      expect(await runCli(['dead', '--json'], env)).to.equal('')
      const { message } = await rejection(runCli(['dead', '--nonsense'], env))
      expect(message).to.contain('ended with 2').and.contain('--nonsense')
      await runCli(['sweep'], env)
      expect(await runCli(['status'], env)).to.match(/sweep: ended \S+ \(asked for\)/)
    })

    it('prints no secret in its logs', async function () {
      this.timeout(60_000)
      const secrets = parseEnvFile(readFileSync(join(runDir, 'env'), 'utf8'))
      const shown = await runCli(['logs', '--lines', '2000'], env)

      expect(shown).to.contain('[avscan-1]')
      for (const [name, value] of Object.entries(secrets))
        if (value.length >= 32) expect(shown.includes(value), `${name} in the logs`).to.equal(false)
    })

    it('keeps clamd out of every network that another container is in', () => {
      const [clamd = ''] = containers('clamd-service')
      const networks = Object.keys(
        JSON.parse(inspect(clamd, '{{json .NetworkSettings.Networks}}')) as Record<string, unknown>,
      )

      expect(networks).to.have.length(1)
      const members = docker(
        'network',
        'inspect',
        networks[0] ?? '',
        '--format',
        '{{len .Containers}}',
      )
      expect(members).to.equal('1')
    })

    it('gives no container more capabilities than dropping all and naming some', () => {
      for (const service of [
        'mq-service',
        'minio-service',
        'clamd-service',
        'avscan-script',
        'notifier',
        'reconciler',
        'store-audit',
      ])
        for (const name of containers(service)) {
          expect(inspect(name, '{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}}'), name).to.equal(
            '[ALL] []',
          )
          expect(inspect(name, '{{.HostConfig.ReadonlyRootfs}}'), name).to.equal('true')
        }
    })

    it('brings the store back after the broker was gone, and scans again', async function () {
      this.timeout(180_000)
      const [broker = ''] = containers('mq-service')
      docker('restart', broker)

      await eventually(() => runCli(['smoke'], env), { timeoutMs: 150_000, everyMs: 2000 })
    })

    it('runs init a second time without changing anything', async function () {
      this.timeout(180_000)
      await runCli(['deploy'], { ...env, SCALE: '1', MAX_OBJECT_BYTES: '8388608' })
      const project = inspect(
        containers('mq-service')[0] ?? '',
        '{{index .Config.Labels "com.docker.compose.project"}}',
      )
      for (const service of ['openssl-init', 'mq-service-init', 'minio-service-init']) {
        const said = docker('logs', `${project}-${service}-1`)
        expect(said, service).to.match(/already as wanted/)
        // The log of the first run is in there as well: what is told last is the second run's.
        expect(said.trim().split('\n').at(-1), service).not.to.match(/created/)
      }
    })

    it('keeps its objects over stop and start', async function () {
      this.timeout(240_000)
      await runCli(['stop'], env)
      await runCli(['start'], env)
      await runCli(['smoke'], env)
    })

    after(async function () {
      this.timeout(180_000)
      if (process.env['KEEP_COMPOSE'] === '1') return
      await runCli(['clean', '--yes'], env)
      rmSync(runDir, { recursive: true, force: true })
      rmSync(attachment, { force: true })
    })

    it('leaves no container, volume or network after clean', async function () {
      this.timeout(180_000)
      const project = inspect(
        containers('mq-service')[0] ?? '',
        '{{index .Config.Labels "com.docker.compose.project"}}',
      )
      await runCli(['clean', '--yes'], env)

      const filter = `label=com.docker.compose.project=${project}`
      expect(docker('ps', '--all', '--quiet', '--filter', filter)).to.equal('')
      expect(docker('volume', 'ls', '--quiet', '--filter', filter)).to.equal('')
      expect(docker('network', 'ls', '--quiet', '--filter', filter)).to.equal('')
    })
  })
}
