import { expect } from 'chai'
import { createHash } from 'node:crypto'
import { passwordFits } from '../../../services/init/broker.ts'
import {
  brokerRights,
  policyProblems,
  queueDifferences,
} from '../../../services/init/broker-plan.ts'
import { brokerIdentities, readIdentities } from '../../../services/init/identities.ts'
import { topology } from '../../../services/shared/topology.ts'
import { loadConfig } from '../../../services/shared/config.ts'

const config = loadConfig({ service: 'init', env: {} })

describe('brokerRights', () => {
  it('lets only the store configure, and only its exchange', () => {
    const rights = brokerRights(config)

    expect(rights.store).to.eql({
      configure: '^(s3minioscan)$',
      write: '^(s3minioscan)$',
      read: '^$',
    })
    for (const who of ['avscan', 'notifier', 'reconciler', 'storeAudit'] as const)
      expect(rights[who].configure, who).to.equal('^$')
  })

  it('lets the reconciler read its two queues and the dead letters, and nothing else', () => {
    const read = new RegExp(brokerRights(config).reconciler.read)

    for (const name of ['s3minioqueue.spool', 'avscan.reconcile', 'avscan.dead'])
      expect(read.test(name), name).to.equal(true)
    for (const name of ['s3minioqueue', 's3minioqueue.bulk', 's3minioqueue.spool.hold.1m'])
      expect(read.test(name), name).to.equal(false)
  })

  it('gives the reconciler some right on every work queue, for RabbitMQ 4.3 to tell it of them', () => {
    const { read, write } = brokerRights(config).reconciler
    const work = topology(config).queues.filter(({ arguments: args }) => 'x-delivery-limit' in args)

    expect(work).to.have.length(7)
    for (const { name } of work)
      expect(new RegExp(read).test(name) || new RegExp(write).test(name), name).to.equal(true)
  })

  it('takes a dot in a name for a dot', () => {
    const { read } = brokerRights(config).avscan

    expect(new RegExp(read).test('s3minioqueue.bulk')).to.equal(true)
    expect(new RegExp(read).test('s3minioqueueXbulk')).to.equal(false)
  })
})

describe('queueDifferences', () => {
  const wanted = { name: 'q', arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 50 } }
  const found = { durable: true, auto_delete: false, arguments: { ...wanted.arguments } }

  it('is empty for a queue as wanted, whatever the order of its arguments', () => {
    const turned = Object.fromEntries(Object.entries(wanted.arguments).toReversed())
    expect(queueDifferences(wanted, { ...found, arguments: turned })).to.eql([])
  })

  it('names a value that differs, one that is missing and one that is too many', () => {
    const other = { 'x-delivery-limit': 20, 'x-max-length': 5 }
    expect(
      queueDifferences(wanted, { ...found, durable: false, arguments: other }),
    ).to.have.members([
      'queue q: durable is false, wanted true',
      'queue q: x-queue-type is nothing, wanted "quorum"',
      'queue q: x-delivery-limit is 20, wanted 50',
      'queue q: x-max-length is 5, wanted nothing',
    ])
  })
})

describe('policyProblems', () => {
  const queues = [{ name: 's3minioqueue', arguments: { 'x-delivery-limit': 50 } }]
  const policy = { name: 'p', pattern: '^s3', 'apply-to': 'queues', priority: 0, definition: {} }
  const problems = (...policies: Partial<typeof policy>[]) =>
    policyProblems(
      queues,
      policies.map((one) => ({ ...policy, ...one })),
      'policy',
    )

  for (const key of ['message-ttl', 'expires', 'max-length', 'max-length-bytes'])
    it(`names ${key}`, () => {
      expect(problems({ definition: { [key]: 5 } })).to.eql([
        `policy "p" sets ${key}=5 on queue s3minioqueue`,
      ])
    })

  it('names a delivery limit below ours, and no higher one', () => {
    expect(problems({ definition: { 'delivery-limit': 3 } })).to.have.length(1)
    expect(problems({ definition: { 'delivery-limit': 90 } })).to.eql([])
  })

  it('passes over policies for other queues, for exchanges and for classic queues', () => {
    const definition = { 'max-length': 5 }
    expect(problems({ definition, pattern: '^people' })).to.eql([])
    expect(problems({ definition, 'apply-to': 'exchanges' })).to.eql([])
    expect(problems({ definition, 'apply-to': 'classic_queues' })).to.eql([])
  })

  it('judges the policy of the highest priority, the only one that counts', () => {
    const harmless = {
      name: 'top',
      priority: 9,
      definition: { 'queue-leader-locator': 'balanced' },
    }
    expect(problems({ definition: { 'max-length': 5 } }, harmless)).to.eql([])
  })
})

describe('passwordFits', () => {
  it('knows RabbitMQ’s salted hash', () => {
    const salt = Buffer.from([1, 2, 3, 4])
    const hash = createHash('sha256').update(salt).update('secret').digest()
    const found = {
      tags: [],
      password_hash: Buffer.concat([salt, hash]).toString('base64'),
      hashing_algorithm: 'rabbit_password_hashing_sha256',
    }

    expect(passwordFits(found, 'secret')).to.equal(true)
    expect(passwordFits(found, 'other')).to.equal(false)
  })
})

describe('readIdentities', () => {
  const env = {
    RABBITMQ_DEFAULT_PASS: 'a',
    RABBITMQ_REGULAR_USER_PASS: 'b',
    AVSCAN_BROKER_PASSWORD: 'c',
    NOTIFIER_BROKER_PASSWORD: 'd',
    RECONCILER_BROKER_PASSWORD: 'e',
    STORE_AUDIT_BROKER_PASSWORD: 'f',
  }

  it('refuses two identities of one name', () => {
    expect(() =>
      readIdentities(brokerIdentities, { ...env, AVSCAN_BROKER_USER: 'notifier' }),
    ).to.throw('NOTIFIER_BROKER_USER: "notifier" is also AVSCAN_BROKER_USER')
  })

  it('names every missing password and every unreadable file at once', () => {
    const some = { ...env, AVSCAN_BROKER_PASSWORD: '', NOTIFIER_BROKER_PASSWORD_FILE: '/nowhere/x' }
    expect(() => readIdentities(brokerIdentities, some)).to.throw(
      /AVSCAN_BROKER_PASSWORD: required by init[^]*NOTIFIER_BROKER_PASSWORD_FILE: .*ENOENT/,
    )
  })
})
