// The broker's topology, spelt out: names and arguments are a promise to every deployment that exists.
import { expect } from 'chai'
import { loadConfig } from '../../../services/shared/config.ts'
import {
  delayName,
  jobRetryDelaysMs,
  retryExchange,
  scaled,
  topology,
  webhookRetryDelaysMs,
} from '../../../services/shared/topology.ts'

const plain = topology(loadConfig({ service: 'init', env: {} }))

const work = {
  'x-queue-type': 'quorum',
  'x-delivery-limit': 50,
  'x-dead-letter-exchange': 'avscan.jobs',
  'x-dead-letter-routing-key': 'avscan.dead',
  'x-dead-letter-strategy': 'at-least-once',
  'x-overflow': 'reject-publish',
}
const retry = (delayMs: number) => ({
  'x-queue-type': 'quorum',
  'x-message-ttl': delayMs,
  'x-dead-letter-exchange': 'avscan.jobs',
  'x-dead-letter-strategy': 'at-least-once',
  'x-overflow': 'reject-publish',
})
const direct = (queue: string) => ({ exchange: 'avscan.jobs', queue, key: queue })
const ladder = {
  'avscan.retry.1s': 1000,
  'avscan.retry.5s': 5000,
  'avscan.retry.10s': 10_000,
  'avscan.retry.30s': 30_000,
  'avscan.retry.1m': 60_000,
  'avscan.retry.2m': 120_000,
  'avscan.retry.10m': 600_000,
  'avscan.retry.30m': 1_800_000,
  'avscan.retry.2h': 7_200_000,
  'avscan.retry.6h': 21_600_000,
  'avscan.retry.12h': 43_200_000,
}

const hold = (env: Record<string, string>) =>
  topology(loadConfig({ service: 'init', env })).queues.filter(({ name }) =>
    name.includes('.hold.'),
  )

const heldFor = (name: string, delayMs: number) => [
  {
    name: `s3minioqueue.spool.hold.${name}`,
    arguments: { ...retry(delayMs), 'x-dead-letter-routing-key': 's3minioqueue.spool' },
  },
]

describe('topology', () => {
  it('declares these exchanges', () => {
    expect(plain.exchanges).to.deep.equal([
      { name: 's3minioscan', type: 'topic' },
      { name: 'avscan.jobs', type: 'direct' },
      { name: 'avscan.verdicts', type: 'topic' },
      ...Object.keys(ladder).map((name) => ({ name, type: 'fanout' })),
    ])
  })

  it('declares these queues with these arguments', () => {
    expect(plain.queues).to.deep.equal([
      { name: 's3minioqueue', arguments: work },
      { name: 's3minioqueue.bulk', arguments: work },
      { name: 's3minioqueue.actions', arguments: work },
      { name: 's3minioqueue.spool', arguments: work },
      { name: 'avscan.reconcile', arguments: work },
      { name: 'avscan.notify', arguments: work },
      ...Object.entries(ladder).map(([name, delay]) => ({ name, arguments: retry(delay) })),
      {
        name: 's3minioqueue.spool.hold.1m',
        arguments: {
          ...retry(60_000),
          'x-dead-letter-routing-key': 's3minioqueue.spool',
        },
      },
      {
        name: 'avscan.dead',
        arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000 },
      },
    ])
  })

  it('declares these bindings', () => {
    expect(plain.bindings).to.deep.equal([
      { exchange: 's3minioscan', queue: 's3minioqueue', key: 'bucket_notifications' },
      {
        exchange: 's3minioscan',
        queue: 's3minioqueue.spool.hold.1m',
        key: 'bucket_notifications.spool',
      },
      { exchange: 'avscan.verdicts', queue: 'avscan.reconcile', key: 'signatures.updated' },
      direct('s3minioqueue'),
      direct('s3minioqueue.bulk'),
      direct('s3minioqueue.actions'),
      direct('s3minioqueue.spool'),
      direct('avscan.reconcile'),
      direct('avscan.notify'),
      direct('avscan.dead'),
      { exchange: 'avscan.verdicts', queue: 'avscan.notify', key: 'avscan.notify' },
      ...Object.keys(ladder).map((name) => ({ exchange: name, queue: name, key: '' })),
    ])
  })

  it('loses nothing on the way: each queue that dead-letters does so at least once and refuses instead of dropping', () => {
    const lettering = plain.queues.filter((queue) => 'x-dead-letter-exchange' in queue.arguments)

    expect(lettering).to.have.length(18)
    for (const queue of lettering)
      expect(queue.arguments, queue.name).to.include({
        'x-queue-type': 'quorum',
        'x-dead-letter-strategy': 'at-least-once',
        'x-overflow': 'reject-publish',
      })
  })

  it('binds only what it declares', () => {
    const queues = new Set(plain.queues.map(({ name }) => name))
    const exchanges = new Set(plain.exchanges.map(({ name }) => name))

    for (const { exchange, queue } of plain.bindings) {
      expect(exchanges.has(exchange), exchange).to.equal(true)
      expect(queues.has(queue), queue).to.equal(true)
    }
  })

  it('has a step of the ladder for every delay of jobs and webhooks, at any scale', () => {
    for (const scale of ['1', '0.01', '0.00001']) {
      const config = loadConfig({ service: 'init', env: { RETRY_SCALE: scale } })
      const declared = new Set(topology(config).queues.map(({ name }) => name))
      const delays = scaled([...jobRetryDelaysMs, ...webhookRetryDelaysMs], config.retry.scale)

      for (const delay of delays)
        expect(declared.has(retryExchange(delay)), `${delay}`).to.equal(true)
      expect(declared.size).to.equal(topology(config).queues.length)
    }
  })

  it('gives another hold delay another queue, whose messages go to the same spool queue', () => {
    expect(hold({ RECONCILE_AFTER_MS: '90000' })).to.deep.equal(heldFor('90s', 90_000))
    expect(hold({ RECONCILE_AFTER_MS: '90000', RETRY_SCALE: '0.1' })).to.deep.equal(
      heldFor('9s', 9000),
    )
  })

  it('follows the configured names and gives each endpoint a queue of its own', () => {
    const config = loadConfig({
      service: 'init',
      env: {
        AV_CONFIG: 'testing/fixtures/config/good.yaml',
        SOC_SECRET: `whsec_${'A'.repeat(32)}`,
        RABBITMQ_QUEUE_NAME: 'q',
        RABBITMQ_TOPIC: 't',
        RABBITMQ_QUEUE_ROUTING_KEY: 'r',
      },
    })

    const { queues, bindings } = topology(config)

    expect(queues.map(({ name }) => name)).to.include.members([
      'q',
      'q.bulk',
      'q.actions',
      'q.spool',
      'q.spool.hold.1m',
      'avscan.notify',
      'avscan.notify.soc',
    ])
    expect(bindings).to.deep.include({ exchange: 't', queue: 'q', key: 'r' })
    expect(bindings).to.deep.include({ exchange: 't', queue: 'q.spool.hold.1m', key: 'r.spool' })
    expect(bindings).to.deep.include({
      exchange: 'avscan.verdicts',
      queue: 'avscan.notify.soc',
      key: 'avscan.notify.soc',
    })
  })
})

describe('delayName', () => {
  for (const [delayMs, name] of [
    [1, '1ms'],
    [999, '999ms'],
    [1000, '1s'],
    [1500, '1500ms'],
    [60_000, '1m'],
    [90_000, '90s'],
    [600_000, '10m'],
    [3_600_000, '1h'],
    [5_400_000, '90m'],
    [43_200_000, '12h'],
  ] as const) {
    it(`calls ${delayMs} ms ${name}`, () => {
      expect(delayName(delayMs)).to.equal(name)
    })
  }
})

describe('scaled', () => {
  it('multiplies and never goes below a millisecond', () => {
    expect(scaled([1000, 10_000], 1)).to.deep.equal([1000, 10_000])
    expect(scaled([1000, 10_000], 0.025)).to.deep.equal([25, 250])
    expect(scaled([1000], 0.0001)).to.deep.equal([1])
  })
})
