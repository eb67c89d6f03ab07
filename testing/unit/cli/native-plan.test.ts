// What each process of a native deployment is told, and what it is not.
import { expect } from 'chai'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { layoutOf, makeFolders } from '../../../services/cli/layout.ts'
import { planChildren } from '../../../services/cli/native-plan.ts'
import type { Settings } from '../../../services/cli/settings.ts'
import { ensureSecrets } from '../../../services/cli/secrets.ts'
import { loadConfig } from '../../../services/shared/config.ts'
import type { StoreFlavour } from '../../../services/cli/store-process.ts'

describe('planChildren', () => {
  let runDir: string
  beforeEach(() => {
    runDir = mkdtempSync(join(tmpdir(), 'plan-'))
  })
  afterEach(() => rmSync(runDir, { recursive: true }))

  const plan = (settings: Settings = {}, flavour: StoreFlavour = 'minio', configFile = '') => {
    const layout = layoutOf(runDir)
    makeFolders(layout)
    const { secrets } = ensureSecrets(join(runDir, 'env'))
    const { first, store, services } = planChildren({
      paths: {
        root: '/checkout',
        runDir,
        envFile: join(runDir, 'env'),
        configFile,
        toolsDir: '/tools',
        compileCache: '/srv/compile-cache',
        isDefault: false,
      },
      layout,
      ports: {
        store: 1,
        storeConsole: 2,
        amqps: 3,
        management: 4,
        erlang: 5,
        epmd: 6,
        notifier: 7,
        reconciler: 8,
        audit: 12,
        auditHealth: 13,
        demo: 9,
        workers: [10, 11],
      },
      secrets,
      settings,
      scale: 2,
      flavour,
      signatures: { set: 'test', directory: '/signatures' },
      programs: {
        rabbitmq: '/r',
        clamd: '/c',
        freshclam: '/f',
        store: { flavour, server: '/s', admin: '/a' },
      },
    })
    const children = [...first, ...store, ...services]
    return (name: string) => {
      const child = children.find((one) => one.name === name)
      if (child === undefined) throw new Error(`there is no child ${name}`)
      return child
    }
  }

  const services = ['avscan-1', 'avscan-2', 'notifier', 'reconciler', 'store-audit']

  it('runs the reconciler with its own two identities and the keys of the proof', () => {
    const { env, ready, command } = plan({ PROOF_OLD_KEYS: 'old' })('reconciler')
    const { secrets } = ensureSecrets(join(runDir, 'env'))

    for (const name of ['RECONCILER_STORE_PASSWORD', 'RECONCILER_BROKER_PASSWORD', 'PROOF_KEY'])
      expect(env[name], name).to.equal(secrets[name])
    expect(env).to.include({ PROOF_OLD_KEYS: 'old', HTTP_PORT: '8' })
    expect(ready).to.deep.equal({ kind: 'http', url: 'http://127.0.0.1:8/readyz' })
    expect(command.at(-1)).to.equal('/checkout/services/reconciler/main.ts')
  })

  it("tells the notifier alone a receiver's address, and the others that there is one", () => {
    const url = 'https://me:secret@hook.example/?key=secret'
    const [without, child] = [plan(), plan({ PUBLISH_URL: url })]

    expect(child('notifier').env['PUBLISH_URL']).to.equal(url)
    for (const name of services.filter((one) => one !== 'notifier')) {
      const config = loadConfig({ service: 'avscan', env: child(name).env })
      expect(config.publish.url, name)
        .to.match(/^https:/)
        .and.not.match(/secret|hook/)
      expect(without(name).env['PUBLISH_URL'], name).to.equal(undefined)
    }
  })

  it('tells each service the passwords of its own identity only', () => {
    const child = plan({ PROOF_OLD_KEYS: 'old' })
    const passwords = (name: string) =>
      Object.keys(child(name).env).filter((key) => /PASSWORD|_PASS$|PROOF/.test(key))

    expect(passwords('avscan-2')).to.have.members([
      'AVSCAN_STORE_PASSWORD',
      'AVSCAN_BROKER_PASSWORD',
      'PROOF_KEY',
      'PROOF_OLD_KEYS',
    ])
    expect(passwords('store-audit')).to.deep.equal(['STORE_AUDIT_BROKER_PASSWORD'])
    expect(passwords('notifier')).to.deep.equal(['NOTIFIER_BROKER_PASSWORD'])
    expect(passwords('reconciler')).to.have.members([
      'RECONCILER_STORE_PASSWORD',
      'RECONCILER_BROKER_PASSWORD',
      'PROOF_KEY',
      'PROOF_OLD_KEYS',
    ])
  })

  it('tells every service of another content of av-scan.yaml, so that a deploy restarts it', () => {
    const configFile = join(runDir, 'av-scan.yaml')
    const told = (content: string) => {
      writeFileSync(configFile, content)
      const child = plan({}, 'minio', configFile)
      return ['avscan-1', 'notifier', 'reconciler'].map((name) => JSON.stringify(child(name)))
    }

    const [before, same, after] = [
      told('tags: {}'),
      told('tags: {}'),
      told('tags: { detail: true }'),
    ]

    expect(same).to.deep.equal(before)
    for (const [index, child] of after.entries()) expect(child).not.to.equal(before[index])
  })

  it('hands the hook of the fault suite to our services where it is set', () => {
    const [plain, hooked] = [plan(), plan({ AVSCAN_FAULT_FILE: '/tmp/step' })]

    for (const name of services) {
      expect(plain(name).env, name).not.to.have.property('AVSCAN_FAULT_FILE')
      expect(hooked(name).env['AVSCAN_FAULT_FILE'], name).to.equal('/tmp/step')
    }
  })

  it('lets MinIO send its audit log to the receiver, with the token that it alone knows', () => {
    const child = plan()
    const { env } = child('store')
    const { secrets } = ensureSecrets(join(runDir, 'env'))
    const token = secrets['STORE_AUDIT_TOKEN'] ?? ''

    expect(token).to.have.length.greaterThan(31)
    expect(env['MINIO_AUDIT_WEBHOOK_ENDPOINT_AVSCAN']).to.equal('https://127.0.0.1:12/')
    expect(env['MINIO_AUDIT_WEBHOOK_AUTH_TOKEN_AVSCAN']).to.equal(`Bearer ${token}`)
    expect(env['MINIO_AUDIT_WEBHOOK_QUEUE_DIR_AVSCAN']).to.equal(join(runDir, 'store/audit'))
    expect(child('store').mask).to.include(token)
    expect(child('store-audit').env).to.include({
      STORE_AUDIT_TOKEN: token,
      STORE_AUDIT_PORT: '12',
      HTTP_PORT: '13',
    })
    for (const name of ['avscan-1', 'notifier', 'reconciler'])
      expect(Object.values(child(name).env), name).not.to.include(token)
  })

  it('has no audit receiver where there is no such log or nobody wants it, and forgets what it knew', () => {
    const state = join(runDir, 'store-audit/state.json')
    for (const child of [plan({}, 'versitygw'), plan({ STORE_AUDIT: 'off' })]) {
      expect(() => child('store-audit')).to.throw('there is no child')
      expect(Object.keys(child('store').env).join(' ')).not.to.include('AUDIT')
    }
    plan()
    writeFileSync(state, '{}')
    plan({ STORE_AUDIT: 'off' })
    expect(existsSync(state)).to.equal(false)
  })

  it('gives MinIO a target for the spool lane that keeps events on the disk of the store', () => {
    const { env } = plan({ RABBITMQ_QUEUE_ROUTING_KEY: 'key' })('store')

    expect(env['MINIO_NOTIFY_AMQP_ROUTING_KEY_FAST']).to.equal('key')
    expect(env['MINIO_NOTIFY_AMQP_QUEUE_DIR_FAST']).to.equal(undefined)
    expect(env['MINIO_NOTIFY_AMQP_ROUTING_KEY_SPOOL']).to.equal('key.spool')
    expect(env['MINIO_NOTIFY_AMQP_QUEUE_DIR_SPOOL']).to.equal(join(runDir, 'store/spool'))
    expect(Number(env['MINIO_NOTIFY_AMQP_QUEUE_LIMIT_SPOOL'])).to.be.greaterThan(100_000)
  })
})
