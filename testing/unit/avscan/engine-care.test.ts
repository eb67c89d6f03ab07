// What the worker does and tells when its engines come and go.
import { expect } from 'chai'
import { EngineCare } from '../../../services/avscan/engine-care.ts'
import { EngineNews } from '../../../services/avscan/engine-news.ts'
import { createMetrics } from '../../../services/avscan/metrics.ts'
import type { Publication } from '../../../services/shared/broker.ts'
import { configSchema } from '../../../services/shared/config-schema.ts'
import { EngineUnavailableError, PublishError } from '../../../services/shared/errors.ts'
import { silentLog } from '../../../services/shared/log.ts'
import { decodeReconcileMessage } from '../../../services/shared/messages.ts'
import { eventually } from '../../support/eventually.ts'
import { fakeEngine, type FakeEngine } from '../../support/fake-engine.ts'

const version = (engine: FakeEngine, ...signatureVersions: string[]) =>
  Object.assign(engine, {
    addresses: signatureVersions.map((signatureVersion, index) => ({
      address: String(index),
      breaker: 'closed',
      canary: true,
      signatureVersion,
    })),
  })

describe('EngineNews', () => {
  let published: Publication[]
  let news: EngineNews
  let engine: FakeEngine
  beforeEach(() => {
    published = []
    news = new EngineNews({
      publish: (one) => {
        published.push(one)
        return Promise.resolve()
      },
    })
    engine = fakeEngine()
  })
  const tell = () => news.tell({ judge: engine, parts: [engine] })
  const bodies = () => published.map(({ body }) => decodeReconcileMessage(body))

  it('tells the signature version once, and another one when it changes', async () => {
    version(engine, '27800')
    await tell()
    await tell()
    version(engine, '27801')
    await tell()

    expect(published.map(({ exchange, routingKey }) => [exchange, routingKey])).to.deep.equal([
      ['avscan.verdicts', 'signatures.updated'],
      ['avscan.verdicts', 'signatures.updated'],
    ])
    expect(bodies().map(({ data }) => data)).to.deep.equal([
      { schemaVersion: '1.0', signatureVersion: '27800' },
      { schemaVersion: '1.0', signatureVersion: '27801' },
    ])
  })

  it('gives the same id for the same version, whoever tells it', async () => {
    version(engine, '27800')
    await tell()
    const other = new EngineNews({ publish: async (one) => void published.push(one) })
    await other.tell({ judge: engine, parts: [engine] })

    expect(published[0]?.messageId).to.be.a('string').that.equals(published[1]?.messageId)
  })

  it('waits until all addresses judge by the same signatures', async () => {
    version(engine, '27800', '27801')
    await tell()
    const before = published.length
    version(engine, '27801', '27801')
    await tell()

    expect([before, published.length]).to.deep.equal([0, 1])
  })

  it('does not tell the signatures of a fallback', async () => {
    version(engine, '27800')
    const second = version(fakeEngine('second'), '7')
    await news.tell({ judge: engine, parts: [engine, second] })

    expect(published).to.have.length(1)
  })

  it('asks for a sweep from the oldest object that was let pass, once the engine can be used', async () => {
    Object.assign(engine, { outage: new Error('away') })
    news.passed(new Date('2026-11-21T10:00:00Z'))
    news.passed(new Date('2026-11-21T08:00:00Z'))
    news.passed(new Date('2026-11-21T09:00:00Z'))
    await tell()
    const during = published.length
    Object.assign(engine, { outage: undefined })
    await tell()
    await tell()

    expect([during, published.length]).to.deep.equal([0, 1])
    expect(published[0]).to.include({ exchange: 'avscan.jobs', routingKey: 'avscan.reconcile' })
    expect(bodies()[0]).to.have.nested.property('data.since', '2026-11-21T07:59:00.000Z')
    expect(bodies()[0]).to.have.nested.property('data.id', published[0]?.messageId)
  })

  it('tells again what was not confirmed', async () => {
    version(engine, '27800')
    let fails = true
    news = new EngineNews({
      publish: (one) => {
        if (fails) return Promise.reject(new PublishError('broker away'))
        published.push(one)
        return Promise.resolve()
      },
    })
    news.passed(new Date())
    await tell().catch(() => undefined)
    fails = false
    await tell()

    expect(bodies().map(({ type }) => type)).to.deep.equal([
      'signatures.updated',
      'sweep.requested',
    ])
  })
})

describe('EngineCare', () => {
  const stop: AbortController[] = []
  afterEach(() => {
    for (const one of stop.splice(0)) one.abort(new Error('over'))
  })

  const begin = (
    engine: Record<string, unknown> = {},
    parts = [fakeEngine('first')],
    intervalMs = 60_000,
  ) => {
    const config = configSchema.parse({ engine, canary: { intervalMs } })
    const care = new EngineCare(config, createMetrics(), silentLog)
    const controller = new AbortController()
    stop.push(controller)
    const paused: [string, readonly string[]][] = []
    const told: string[] = []
    const [judge = fakeEngine()] = parts
    care.run({
      engines: { judge, parts },
      consumer: {
        pause: (error, queues) => {
          paused.push([error.message, queues])
          return Promise.resolve()
        },
      },
      abilities: { refresh: () => Promise.resolve() },
      news: Object.assign(new EngineNews({ publish: () => Promise.resolve() }), {
        tell: () => {
          told.push('told')
          return Promise.resolve()
        },
      }),
      signal: controller.signal,
    })
    return { care, paused, told, judge }
  }
  const error = new EngineUnavailableError('away')

  it('stops both scan lanes when the engine cannot be used', () => {
    const { care, paused } = begin()
    care.down('first', error)

    expect(paused).to.deep.equal([['away', ['s3minioqueue', 's3minioqueue.bulk']]])
  })

  it('stops them with a fallback only when neither can be used', () => {
    const { care, paused } = begin({}, [fakeEngine('first'), fakeEngine('second')])
    care.down('first', error)
    const before = paused.length
    care.down('second', error)
    care.up('second')
    care.down('second', error)

    expect([before, paused.length]).to.deep.equal([0, 2])
  })

  it('stops only sweeps and re-scans where new objects are let pass', () => {
    const { care, paused } = begin({ outage: 'pass-unscanned' })
    care.down('first', error)

    expect(paused).to.deep.equal([['away', ['s3minioqueue.bulk']]])
  })

  it('runs the canary at its interval, and tells the news after each', async () => {
    const first = fakeEngine('first')
    let probes = 0
    first.probe = async () => {
      probes++
      throw error
    }
    const { told } = begin({}, [first], 10)

    await eventually(() => probes >= 3)
    expect(told.length).to.be.at.least(3)
  })

  it('runs the canary soon after the signatures have changed', async () => {
    const first = fakeEngine('first')
    const { promise, resolve } = Promise.withResolvers<void>()
    first.probe = async () => {
      resolve()
      throw error
    }
    const { care } = begin({}, [first])
    care.signatures()

    await promise
  })
})
