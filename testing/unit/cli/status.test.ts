import { expect } from 'chai'
import { parseMetrics, sumBy } from '../../../services/cli/metrics-text.ts'
import { renderReconciler } from '../../../services/cli/status-reconciler.ts'
import { isHealthy, renderStatus, type StatusFacts } from '../../../services/cli/status.ts'

const metrics = (set: string) => `# HELP avscan_objects_total Objects
avscan_objects_total{verdict="CLEAN"} 3
avscan_objects_total{verdict="INFECTED"} 1
avscan_signatures_info{engine="clamd",engine_version="1.4.6",signature_version="27000",signature_date="2026-11-20",signature_set="${set}"} 1
`
const facts = (change: Partial<StatusFacts> = {}): StatusFacts => ({
  runtime: 'native',
  parts: [
    { name: 'broker', state: 'running', pid: 7 },
    { name: 'avscan-1', state: 'running', pid: 8, version: '1.0.0' },
    { name: 'avscan-2', state: 'running', pid: 9, version: '1.0.0' },
  ],
  queues: [
    { name: 's3minioqueue', messages: 12, consumers: 2 },
    { name: 'avscan.retry.1s', messages: 0, consumers: 0 },
  ],
  brokerVersion: '3.10.8',
  samples: [...parseMetrics(metrics('official')), ...parseMetrics(metrics('official'))],
  endpoints: [
    { name: 'PUBLISH_URL', url: '' },
    { name: 'demo', url: 'http://127.0.0.1:8099/' },
  ],
  places: [{ name: 'S3', where: 'https://127.0.0.1:9000' }],
  ...change,
})

describe('parseMetrics', () => {
  it('reads labels with escaped characters, and values', () => {
    expect(
      parseMetrics('a{b="x\\"y\\nz",c="{}"} 1.5\nplain 2 1700000000\n# TYPE a counter\n'),
    ).to.deep.equal([
      { name: 'a', labels: { b: 'x"y\nz', c: '{}' }, value: 1.5 },
      { name: 'plain', labels: {}, value: 2 },
    ])
  })

  it('adds up the workers', () => {
    const samples = [...parseMetrics(metrics('test')), ...parseMetrics(metrics('test'))]

    expect([...sumBy(samples, 'avscan_objects_total', 'verdict')]).to.deep.equal([
      ['CLEAN', 6],
      ['INFECTED', 2],
    ])
  })
})

const part = (name: string, version?: string) => ({
  name,
  state: 'running' as const,
  pid: 5,
  ...(version === undefined ? {} : { version }),
})

describe('renderStatus', () => {
  it('shows every worker, versions, queue depths, verdicts and signatures', () => {
    const text = renderStatus(facts())

    expect(text).to.match(/avscan-1 +running +8 +1\.0\.0/)
    expect(text).to.match(/avscan-2 +running +9 +1\.0\.0/)
    expect(text).to.contain('RabbitMQ 3.10.8')
    expect(text).to.match(/s3minioqueue +12 +2/)
    expect(text).to.contain('CLEAN 6, INFECTED 2')
    expect(text).to.contain('clamd 1.4.6: official set, version 27000 of 2026-11-20')
  })

  it('counts what nobody could look into by container format', () => {
    const samples = parseMetrics(
      [
        'avscan_unscannable_total{reason="105",format="7z"} 2',
        'avscan_unscannable_total{reason="105",format="deb"} 3',
        'avscan_unscannable_total{reason="106",format="7z"} 2',
        'avscan_unscannable_total{reason="107",format=""} 9',
      ].join('\n'),
    )

    expect(renderStatus(facts({ samples }))).to.contain(
      'UNSCANNABLE by container format: 7z 4, deb 3\n',
    )
    expect(renderStatus(facts())).not.to.contain('by container format')
  })

  it('says that the audit log is not taken', () => {
    const withStore = (version: string, ...more: ReturnType<typeof part>[]) =>
      renderStatus(facts({ parts: [part('store', version), ...more] }))

    expect(withStore('MinIO 2026')).to.match(/store-audit +off +events alone tell of writes/)
    expect(withStore('VersityGW v1')).to.match(/store-audit +none +events alone tell of writes/)
    expect(withStore('MinIO 2026', part('store-audit'))).not.to.contain('events alone')
    expect(renderStatus(facts({ parts: [] }))).not.to.contain('events alone')
  })

  it('leaves out empty retry queues', () => {
    expect(renderStatus(facts())).to.not.contain('avscan.retry')
  })

  it('is loud about the test set, and silent otherwise', () => {
    expect(renderStatus(facts({ samples: parseMetrics(metrics('test')) }))).to.contain(
      'real malware is NOT found',
    )
    expect(renderStatus(facts())).to.not.contain('NOT found')
  })

  it('says which endpoints are on and which are off', () => {
    const text = renderStatus(facts())

    expect(text).to.contain('PUBLISH_URL: off')
    expect(text).to.contain('demo: on, http://127.0.0.1:8099/')
  })

  it('says what it does not know', () => {
    const text = renderStatus(facts({ queues: undefined, samples: [] }))

    expect(text).to.contain('the management API does not answer')
    expect(text).to.contain('no worker has an engine that passed its canary')
  })
})

describe('renderReconciler', () => {
  const running = {
    version: '1.0.0',
    canary: { state: 'passing', seconds: 0.24, at: '2026-11-21T07:00:00.000Z' },
    events: { coveredUntil: '2026-11-21T07:00:00.000Z', gap: [] },
    sweep: {
      id: 'a',
      reason: 'asked for',
      running: true,
      startedAt: '2026-11-21T07:00:01.000Z',
      seen: 4200,
      queued: 17,
      rate: 200,
      total: 20_200,
    },
    sweeps: [{ id: 'a', startedAt: '2026-11-21T07:00:01.000Z' }, { id: 'b' }],
  }

  it('shows how far a sweep is, and that events flow', () => {
    expect(renderReconciler(running)).to.deep.equal([
      'reconciler',
      '  events: none is missing up to 2026-11-21T07:00:00.000Z',
      '  canary through everything: passing, 0.2 s',
      '  sweep: runs (asked for), 4,200 of about 20,200 objects seen, 17 queued, 200/s, some 80 s left; 1 more wait',
    ])
  })

  it('says why events may be missing, and what the canary met', () => {
    const lines = renderReconciler({
      canary: { state: 'failing', why: 'no verdict within 30 s' },
      events: { coveredUntil: '2026-11-21T07:00:00.000Z', gap: ['start', 'broker'] },
      sweep: { ...running.sweep, running: false, finishedAt: '2026-11-21T07:01:00.000Z' },
    })

    expect(lines.slice(1)).to.deep.equal([
      '  events: some may be missing since 2026-11-21T07:00:00.000Z (start, broker); a sweep follows',
      '  canary through everything: failing: no verdict within 30 s',
      '  sweep: ended 2026-11-21T07:01:00.000Z (asked for), 4,200 objects seen, 17 queued',
    ])
  })

  it('bears with an answer that says nothing of it, and with none', () => {
    expect(renderReconciler({})).to.deep.equal(['reconciler', '  sweep: none yet'])
    expect(renderReconciler(undefined).at(-1)).to.contain('does not answer')
  })

  it('is shown where there is a reconciler', () => {
    const parts = [{ name: 'reconciler', state: 'running' as const, facts: running }]

    expect(renderStatus(facts({ parts }))).to.contain('4,200 of about 20,200 objects')
    expect(renderStatus(facts())).not.to.contain('reconciler')
  })
})

describe('a bucket that cannot be used', () => {
  const unusableBuckets = { invoices: 'reach the bucket "invoices": NoSuchBucket - make it' }
  const parts = [
    { name: 'avscan-1', state: 'running' as const, facts: { unusableBuckets } },
    { name: 'reconciler', state: 'running' as const, facts: { unusableBuckets } },
  ]

  it('is told once, loudly, with the reason', () => {
    const lines = renderStatus(facts({ parts }))
      .split('\n')
      .filter((line) => line.includes('invoices'))

    expect(lines).to.have.length(1)
    expect(lines[0]).to.match(/!!!! invoices: NOTHING in it is scanned: .*NoSuchBucket - make it/)
  })

  it('is not healthy', () => {
    expect(isHealthy(facts({ parts }))).to.equal(false)
  })

  it('is not shown where there is none', () => {
    expect(renderStatus(facts())).not.to.contain('buckets')
  })
})

describe('uploads to a bucket that is not configured', () => {
  it('are told', () => {
    const samples = parseMetrics('avscan_jobs_dropped_total{why="foreign bucket"} 3\n')

    expect(renderStatus(facts({ samples }))).to.contain('3 uploads to buckets that')
    expect(renderStatus(facts())).not.to.contain('uploads to buckets')
  })
})

describe('isHealthy', () => {
  it('holds only while every part runs and the broker answers', () => {
    expect(isHealthy(facts())).to.equal(true)
    expect(isHealthy(facts({ queues: undefined }))).to.equal(false)
    expect(isHealthy(facts({ parts: [{ name: 'store', state: 'failed' }] }))).to.equal(false)
    expect(isHealthy(facts({ parts: [] }))).to.equal(false)
  })
})
