import { expect } from 'chai'
import type { ConsumeMessage } from 'amqplib'
import { createFilter, parseAge, parseLimit } from '../../../services/reconciler/letter-filter.ts'
import { readLetter } from '../../../services/reconciler/letter.ts'
import { publicationOf } from '../../../services/reconciler/replay.ts'
import { FatalError } from '../../../services/shared/errors.ts'

const at = 1_700_000_000
const now = (at + 3600) * 1000

interface Given {
  body?: unknown
  headers?: Record<string, unknown>
  timestamp?: unknown
}

const letterOf = ({ body = {}, headers = {}, timestamp = at }: Given = {}) =>
  readLetter(
    {
      content: Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body)),
      properties: {
        headers,
        timestamp,
        messageId: 'id',
        type: 't',
      } as ConsumeMessage['properties'],
    },
    's3minioscan',
  )

const ours = {
  'avscan-origin': 's3minioqueue',
  'avscan-reason': 'EngineError',
  'avscan-attempts': 5,
  'avscan-attempt': 5,
  'avscan-error': 'scan: broken',
}
const brokers = {
  'avscan-attempt': 2,
  'avscan-error': 'earlier',
  'x-death': [
    {
      reason: 'delivery_limit',
      queue: 's3minioqueue.bulk',
      time: { '!': 'timestamp', value: at + 60 },
    },
    { reason: 'expired', queue: 'avscan.retry.1s', time: { '!': 'timestamp', value: at } },
  ],
  'x-first-death-queue': 'avscan.retry.1s',
}
const job = (...objects: object[]) => ({ objects, trigger: { kind: 'manual' } })

describe('readLetter', () => {
  it('reads what our consumers wrote', () => {
    expect(letterOf({ headers: ours })).to.deep.include({
      diedAt: new Date(at * 1000),
      reason: 'EngineError',
      origin: 's3minioqueue',
      attempts: 5,
      error: 'scan: broken',
      messageId: 'id',
      type: 't',
    })
  })

  it('reads what the broker wrote when it dead-lettered by itself: the newest death', () => {
    expect(letterOf({ headers: brokers })).to.deep.include({
      diedAt: new Date((at + 60) * 1000),
      reason: 'delivery_limit',
      origin: 's3minioqueue.bulk',
      attempts: 2,
      error: 'earlier',
    })
  })

  it('makes nothing up where nothing is said', () => {
    expect(letterOf({ headers: {}, timestamp: null })).to.deep.include({
      diedAt: undefined,
      reason: 'unknown',
      origin: undefined,
      attempts: undefined,
      error: '',
    })
  })

  for (const deaths of ['text', [], [null], ['x'], [{ reason: 5, queue: {}, time: {} }]])
    it(`bears an x-death of ${JSON.stringify(deaths)}`, () => {
      const headers = { 'x-death': deaths, 'avscan-attempts': {}, 'avscan-error': 7 }

      expect(letterOf({ headers, timestamp: 'x' })).to.deep.include({
        reason: 'unknown',
        origin: undefined,
        error: '',
      })
    })

  const event = {
    Records: [
      {
        eventName: 's3:ObjectCreated:Put',
        s3: { bucket: { name: 'b' }, object: { key: 'a+b%2Fc', versionId: 'v1' } },
      },
    ],
  }
  const action = {
    action: 'delete',
    object: { bucket: 'b', key: 'k', etag: 'e', lastModified: '2026-01-01T00:00:00Z' },
    verdictId: 'i',
  }
  const verdict = {
    type: 'object.scan.clean',
    timestamp: '2026-01-01T00:00:00Z',
    data: { s3ObjectDetails: { bucketName: 'b', objectKey: 'k' } },
  }
  const named: [string, unknown, string[]][] = [
    ['an event', event, ['b/a b/c']],
    ['a job', job({ bucket: 'b', key: 'x' }, { bucket: 'c', key: 'y' }), ['b/x', 'c/y']],
    ['an action job', action, ['b/k']],
    ['a verdict message', verdict, ['b/k']],
  ]
  for (const [what, body, expected] of named)
    it(`names the objects of ${what}`, () => {
      const { objects } = letterOf({ body })

      expect(objects.map(({ bucket, key }) => `${bucket}/${key}`)).to.deep.equal(expected)
    })

  const unnamed: [string, unknown, string][] = [
    ['an event of a deletion', { Records: [{ eventName: 's3:ObjectRemoved:Delete' }] }, 'no scan'],
    [
      'a wish for a sweep',
      { type: 'sweep.requested', timestamp: 't', data: { id: 'i', reason: 'r' } },
      'sweep.requested',
    ],
    ['bytes', Buffer.from('\u001b[2J\u0000ha'), String.raw`not ours: \u001b[2J\u0000ha`],
    ['an unknown kind of job', { objects: [], trigger: { kind: 'new' } }, 'not ours: {"objects"'],
    ['null', null, 'not ours: null'],
  ]
  for (const [what, body, expected] of unnamed)
    it(`says what ${what} is`, () => {
      const { objects, otherwise } = letterOf({ body })

      expect(objects).to.deep.equal([])
      expect(otherwise).to.contain(expected)
    })
})

describe('createFilter', () => {
  const body = job({ bucket: 'b', key: 'in/1' }, { bucket: 'c', key: 'out/1' })
  const letter = letterOf({ body, headers: ours })
  const cases: [Parameters<typeof createFilter>[0], boolean][] = [
    [{}, true],
    [{ reason: 'EngineError' }, true],
    [{ reason: 'Engine' }, false],
    [{ origin: 's3minioqueue' }, true],
    [{ origin: 's3minioqueue.bulk' }, false],
    [{ bucket: 'b' }, true],
    [{ bucket: 'd' }, false],
    [{ key: 'in/' }, true],
    [{ key: '1' }, false],
    [{ bucket: 'c', key: 'out/' }, true],
    // Both exist, but of different objects.
    [{ bucket: 'c', key: 'in/' }, false],
    [{ 'older-than': '1h' }, true],
    [{ 'older-than': '61m' }, false],
    [{ reason: 'EngineError', bucket: 'd' }, false],
  ]
  for (const [values, expected] of cases)
    it(`${expected ? 'takes' : 'leaves'} a letter with ${JSON.stringify(values)}`, () => {
      expect(createFilter(values, now)(letter)).to.equal(expected)
    })

  it('does not take for old what has no date, nor for an object what names none', () => {
    const undated = letterOf({ timestamp: null })

    expect(createFilter({ 'older-than': '1s' }, now)(undated)).to.equal(false)
    expect(createFilter({ key: '' }, now)(undated)).to.equal(false)
  })

  it('reads durations and numbers, and nothing else', () => {
    expect(['90s', '15m', '2h', '3d'].map(parseAge)).to.deep.equal([
      90_000, 900_000, 7_200_000, 259_200_000,
    ])
    for (const wrong of ['', '2', 'h', '2 h', '-2h', '2w', '1.5h', '2h30m'])
      expect(() => parseAge(wrong), wrong).to.throw(FatalError, 'is no duration')
    expect(parseLimit('20')).to.equal(20)
    for (const wrong of ['', '0', '-1', '1e3', '1.5', 'x', '99999999999999999999'])
      expect(() => parseLimit(wrong), wrong).to.throw(FatalError, 'is no number above 0')
  })
})

describe('publicationOf', () => {
  it('keeps body, id, type and foreign headers, and forgets all tries and the death, but not that it was worked on', () => {
    const headers = { ...ours, ...brokers, 'X-Upper': 1, 'Avscan-Odd': 1, mine: 'kept' }
    const letter = letterOf({ body: job({ bucket: 'b', key: 'k' }), headers })

    expect(publicationOf(letter, 'q')).to.deep.equal({
      exchange: 'avscan.jobs',
      routingKey: 'q',
      body: letter.body,
      messageId: 'id',
      type: 't',
      headers: { mine: 'kept', 'avscan-replayed': 1 },
    })
  })

  for (const [how, headers] of [
    ['settled it', { ...ours, 'avscan-from-store': 1 }],
    ['was killed by it', { 'x-death': [{ exchange: 's3minioscan', reason: 'delivery_limit' }] }],
  ] as const)
    it(`does not make a job of ours of what came as an event, when a worker ${how}`, () => {
      const { headers: sent } = publicationOf(letterOf({ headers }), 'q')

      expect(sent).to.deep.equal({ 'avscan-replayed': 1, 'avscan-from-store': 1 })
    })
})
