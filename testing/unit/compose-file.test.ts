// The compose file as text: what a person could break in it without any test of ours running on an engine.
import { expect } from 'chai'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { composeVariables } from '../../services/cli/docker-plan.ts'
import { secretNames } from '../../services/cli/secrets.ts'
import { listSettings } from '../../services/shared/config.ts'

interface Service {
  image?: string
  environment?: Record<string, string | number>
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test: string[] }
  restart?: string
  ports?: string[]
  networks?: string[] | Record<string, unknown>
  volumes?: string[]
  read_only?: boolean
  cap_drop?: string[]
  cap_add?: string[]
  security_opt?: string[]
  pids_limit?: number
  init?: boolean
  command?: string[]
}

const folder = join(import.meta.dirname, '../../docker-compose')
const text = readFileSync(join(folder, 'compose.yaml'), 'utf8')
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const file = parse(text, { merge: true }) as {
  services: Record<string, Service>
  networks: Record<string, { internal?: boolean } | null>
}
const services = Object.entries(file.services)
const service = (name: string): Service => {
  const found = file.services[name]
  if (found === undefined) throw new Error(`there is no service ${name}`)
  return found
}
const running = services.filter(([, { restart }]) => restart === 'unless-stopped')
const networksOf = ({ networks = [] }: Service) =>
  Array.isArray(networks) ? networks : Object.keys(networks)

const needs = (name: string, other: string) => service(name).depends_on?.[other]?.condition

const hasEngineSocket = (one: Service) =>
  (one.volumes ?? []).some((volume) => volume.startsWith('engine-socket:'))

describe('the compose file', () => {
  it('has the services under the names that the original had', () => {
    expect(Object.keys(file.services)).to.include.members([
      'openssl-init',
      'minio-service',
      'minio-service-init',
      'mq-service',
      'mq-service-init',
      'clamd-service',
      'avscan-script',
      'notifier',
      'reconciler',
      'store-audit',
    ])
  })

  for (const [name, one] of services)
    it(`hardens ${name}`, () => {
      expect(one.read_only, 'read_only').to.equal(true)
      expect(one.cap_drop, 'cap_drop').to.deep.equal(['ALL'])
      expect(one.security_opt, 'security_opt').to.include('no-new-privileges:true')
      expect(one.pids_limit, 'pids_limit').to.be.greaterThan(0)
      expect(one.init, 'init').to.equal(true)
    })

  it('gives capabilities back to the one service that hands out keys, and to no other', () => {
    expect(
      services.filter(([, { cap_add }]) => cap_add !== undefined).map(([name]) => name),
    ).to.deep.equal(['openssl-init'])
  })

  it('checks the health of everything that keeps running', () => {
    for (const [name, { healthcheck }] of running) expect(healthcheck?.test, name).to.be.an('array')
  })

  it('starts certificates, broker, topology, store, bucket rule and workers in that order', () => {
    expect(needs('mq-service', 'openssl-init')).to.equal('service_completed_successfully')
    expect(needs('mq-service-init', 'mq-service')).to.equal('service_healthy')
    expect(needs('minio-service', 'mq-service-init')).to.equal('service_completed_successfully')
    expect(needs('minio-service-init', 'minio-service')).to.equal('service_healthy')
    expect(needs('avscan-script', 'minio-service-init')).to.equal('service_completed_successfully')
  })

  it("publishes the store's port on BIND_ADDRESS and everything else on 127.0.0.1", () => {
    const published = services.flatMap(([, { ports = [] }]) => ports)
    const open = published.filter((port) => !port.startsWith('127.0.0.1:'))
    expect(open).to.deep.equal(['${BIND_ADDRESS:-127.0.0.1}:${STORE_PORT:-9000}:9000'])
  })

  it('keeps clamd on a network of its own, and without a port', () => {
    const [network = ''] = networksOf(service('clamd-service'))
    const others = services.filter(([name]) => name !== 'clamd-service')
    expect(networksOf(service('clamd-service'))).to.have.length(1)
    for (const [name, one] of others) expect(networksOf(one), name).not.to.include(network)
    expect(service('clamd-service').ports).to.equal(undefined)
  })

  it('lets nobody but the workers near an engine', () => {
    for (const name of ['notifier', 'reconciler', 'store-audit', 'demo']) {
      expect(networksOf(service(name)), name).to.deep.equal(['backbone'])
      expect(hasEngineSocket(service(name)), name).to.equal(false)
    }
  })

  it('lets the network of a REST engine have no way out', () => {
    expect(file.networks['engine']).to.deep.equal({ internal: true })
  })

  it('names every secret without a default', () => {
    const passwords = secretNames.filter((name) => /PASS|KEY|SECRET/.test(name))
    for (const name of passwords) expect(text, name).not.to.match(new RegExp(`\\$\\{${name}:-[^}]`))
  })

  it('mounts the key of the CA into the service that makes certificates alone', () => {
    const holders = services.filter(([, { volumes = [] }]) =>
      volumes.some((volume) => volume.startsWith('certs-private:')),
    )
    expect(holders.map(([name]) => name)).to.deep.equal(['openssl-init'])
  })

  it('hands PROOF_KEY to the workers and the reconciler alone', () => {
    const holders = services.filter(([, { environment = {} }]) => 'PROOF_KEY' in environment)
    expect(holders.map(([name]) => name)).to.have.members(['avscan-script', 'reconciler'])
  })

  it('gives the store a second target that differs from the first in its key and in being kept on disk', () => {
    const environment = service('minio-service').environment ?? {}
    const target = (id: string) =>
      Object.fromEntries(
        Object.entries(environment).flatMap(([name, value]) => {
          const [, key] = new RegExp(`^MINIO_NOTIFY_AMQP_(.*)_${id}$`).exec(name) ?? []
          return key === undefined ? [] : [[key, value]]
        }),
      )
    const { ROUTING_KEY: key, ...fast } = target('FAST')
    const { ROUTING_KEY: spoolKey, QUEUE_DIR: folder, QUEUE_LIMIT: _, ...spool } = target('SPOOL')
    expect(spool).to.deep.equal(fast)
    expect(fast).to.include({ ENABLE: 'on', DURABLE: 'on', PUBLISHING_CONFIRMS: 'on' })
    expect(spoolKey).to.equal(`${key}.spool`)
    const volumes = (service('minio-service').volumes ?? []).map((volume) => volume.split(':')[1])
    expect(volumes.some((place) => String(folder).startsWith(`${place}/`))).to.equal(true)
  })

  it('hands the token of the audit log to the store and its receiver alone', () => {
    const holders = services.filter(([, { environment = {} }]) =>
      Object.values(environment).some((value) => String(value).includes('STORE_AUDIT_TOKEN')),
    )
    expect(holders.map(([name]) => name)).to.have.members(['minio-service', 'store-audit'])
  })

  it('lets the store send its audit log where the receiver takes it, and keep it on its own disk', () => {
    const { environment = {}, volumes = [] } = service('minio-service')
    const audit = (key: string) => String(environment[`MINIO_AUDIT_WEBHOOK_${key}_AVSCAN`])
    const receiver = service('store-audit').environment ?? {}
    expect(audit('ENDPOINT')).to.equal(`https://store-audit:${receiver['STORE_AUDIT_PORT']}/`)
    expect(audit('QUEUE_SIZE')).to.equal(receiver['STORE_AUDIT_QUEUE_SIZE'])
    expect(audit('ENABLE')).to.equal(receiver['STORE_AUDIT'])
    const places = volumes.map((volume) => volume.split(':')[1])
    expect(places.some((place) => audit('QUEUE_DIR').startsWith(`${place}/`))).to.equal(true)
  })

  it('passes on every setting that has an environment variable', () => {
    const fixed = ['CLAMD_ENDPOINT', 'CLAMD_PORT', 'RABBITMQ_TLS', 'LOG_FILE']
    const passed = {
      ...service('avscan-script').environment,
      ...service('notifier').environment,
      ...service('store-audit').environment,
    }
    const wanted = listSettings().flatMap(({ env }) =>
      env === undefined || env.includes('*') || fixed.includes(env) ? [] : env,
    )
    expect(Object.keys(passed)).to.include.members(wanted)
  })

  it('has every variable described in .env.example, and nothing else there', () => {
    const texts = readdirSync(folder)
      .filter((name) => /^compose.*\.yaml$/.test(name))
      .map((name) => readFileSync(join(folder, name), 'utf8'))
    const example = readFileSync(join(folder, '.env.example'), 'utf8')
    const described = [...example.matchAll(/^([A-Z][A-Z0-9_]*)=/gm)].flatMap(
      ([, name]) => name ?? [],
    )
    expect(described.toSorted()).to.deep.equal(composeVariables(texts))
  })

  it('has defaults in .env.example that are the defaults of the compose file', () => {
    const example = readFileSync(join(folder, '.env.example'), 'utf8')
    for (const [, name = '', value = ''] of text.matchAll(/\$\{([A-Z][A-Z0-9_]*):-([^}]+)\}/g))
      expect(example, name).to.match(
        new RegExp(`^${name}=${value.replaceAll(/[/.]/g, String.raw`\$&`)}$`, 'm'),
      )
  })
})
