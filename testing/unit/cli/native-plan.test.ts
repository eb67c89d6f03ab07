// What each process of a native deployment is told, and what it is not.
import { expect } from 'chai'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { layoutOf, makeFolders } from '../../../services/cli/layout.ts'
import { planChildren } from '../../../services/cli/native-plan.ts'
import type { Settings } from '../../../services/cli/settings.ts'
import { ensureSecrets } from '../../../services/cli/secrets.ts'
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

  const services = ['avscan-1', 'avscan-2', 'notifier', 'reconciler']

  it('runs the reconciler with its own two identities and the keys of the proof', () => {
    const { env, ready, command } = plan({ PROOF_OLD_KEYS: 'old' })('reconciler')
    const { secrets } = ensureSecrets(join(runDir, 'env'))

    for (const name of ['RECONCILER_STORE_PASSWORD', 'RECONCILER_BROKER_PASSWORD', 'PROOF_KEY'])
      expect(env[name], name).to.equal(secrets[name])
    expect(env).to.include({ PROOF_OLD_KEYS: 'old', HTTP_PORT: '8' })
    expect(ready).to.deep.equal({ kind: 'http', url: 'http://127.0.0.1:8/readyz' })
    expect(command.at(-1)).to.equal('/checkout/services/reconciler/main.ts')
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

  it('gives MinIO a target for the spool lane that keeps events on the disk of the store', () => {
    const { env } = plan({ RABBITMQ_QUEUE_ROUTING_KEY: 'key' })('store')

    expect(env['MINIO_NOTIFY_AMQP_ROUTING_KEY_FAST']).to.equal('key')
    expect(env['MINIO_NOTIFY_AMQP_QUEUE_DIR_FAST']).to.equal(undefined)
    expect(env['MINIO_NOTIFY_AMQP_ROUTING_KEY_SPOOL']).to.equal('key.spool')
    expect(env['MINIO_NOTIFY_AMQP_QUEUE_DIR_SPOOL']).to.equal(join(runDir, 'store/spool'))
    expect(Number(env['MINIO_NOTIFY_AMQP_QUEUE_LIMIT_SPOOL'])).to.be.greaterThan(100_000)
  })
})
