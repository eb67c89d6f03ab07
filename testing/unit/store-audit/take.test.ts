// A batch of the audit log: cut into lines, worked off, confirmed before it is acknowledged.
import { expect } from 'chai'
import { Registry } from '@prometheus-io/client'
import { createAlerts } from '../../../services/store-audit/alerts.ts'
import { linesOf } from '../../../services/store-audit/lines.ts'
import { createMetrics } from '../../../services/store-audit/metrics.ts'
import { createTake } from '../../../services/store-audit/take.ts'
import { createUploads } from '../../../services/store-audit/uploads.ts'
import { FatalError, PublishError } from '../../../services/shared/errors.ts'
import { rejection } from '../../support/rejection.ts'

async function* body(...chunks: (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield Buffer.from(chunk)
}

const cut = async (chunks: (string | Buffer)[], longest?: number) => {
  const [lines, skipped]: [string[], { count: number }] = [[], { count: 0 }]
  const all = linesOf(body(...chunks), () => (skipped.count += 1), longest)
  for await (const line of all) lines.push(line)
  return { lines, skipped: skipped.count }
}

describe('linesOf', () => {
  it('cuts wherever the chunks end, also within a character', async () => {
    const bytes = Buffer.from('{"a":"ö"}\n\n{"b":1}\n{"c":2}')
    for (let at = 0; at <= bytes.length; at++) {
      const found = await cut([bytes.subarray(0, at), bytes.subarray(at)])
      expect(found.lines, String(at)).to.deep.equal(['{"a":"ö"}', '{"b":1}', '{"c":2}'])
    }
  })

  it('leaves out what is too long, says so, and goes on', async () => {
    const long = 'x'.repeat(11)
    expect(await cut(['1\n', long.slice(0, 6), long.slice(6), long, '\n2\n'], 10)).to.deep.equal({
      lines: ['1', '2'],
      skipped: 1,
    })
    expect(await cut([long], 10)).to.deep.equal({ lines: [], skipped: 1 })
  })
})

const line = (api: string, object: string, extra: object = {}) =>
  `${JSON.stringify({
    time: '2026-11-26T01:09:13.006741261Z',
    api: { name: api, bucket: 'b', object, statusCode: 200 },
    requestQuery: { versionId: 'v' },
    requestID: object,
    ...extra,
  })}\n`

const bench = (verify: () => Promise<void> = () => Promise.resolve()) => {
  const did = { verified: [] as string[], swept: [] as string[], batches: 0, warned: 0 }
  const log = { warn: () => (did.warned += 1) as never }
  const take = createTake({
    buckets: ['b'],
    jobs: {
      verify: async ({ key }) => {
        did.verified.push(key)
        await verify()
      },
      sweep: (after) => did.swept.push(after),
    },
    pulse: { batch: () => (did.batches += 1), seen: ({ api }) => api === 'HeadBucket' },
    uploads: createUploads(),
    alerts: createAlerts(log),
    metrics: createMetrics(new Registry()),
    log,
    now: () => Date.parse('2026-11-26T01:10:00Z'),
  })
  return { did, take }
}

const archive = (time: string) =>
  line('PutObjectExtract', 'a.tar', {
    time,
    requestHeader: { 'X-Minio-Source-Replication-Request': 'true' },
  })

async function* slow(): AsyncGenerator<Buffer> {
  yield Buffer.from(line('PutObject', '1'))
  // By then Node has looked for rejections that nobody handles.
  await new Promise((resolve) => setImmediate(resolve))
  yield Buffer.from(line('PutObject', '2'))
}

describe('take', () => {
  it('makes a job of each forged write and of nothing else', async () => {
    const { did, take } = bench()

    await take(
      body(
        line('PutObject', '1') + line('GetObject', '2') + line('HeadBucket', '3'),
        line('PutObject', '4'),
      ),
    )

    expect(did).to.deep.include({ verified: ['1', '4'], swept: [], batches: 1 })
  })

  it('knows at the end of an upload how it was begun', async () => {
    const { did, take } = bench()

    await take(body(line('NewMultipartUpload', 'one')))
    await take(body(line('CompleteMultipartUpload', 'one', { requestQuery: {} })))
    await take(body(line('CompleteMultipartUpload', 'two', { requestQuery: {} })))

    expect(did.verified).to.deep.equal(['one'])
  })

  it('asks once for a sweep, of the latest, for all archives of a batch', async () => {
    const { did, take } = bench()
    await take(body(archive('2026-11-26T01:00:02.0000001Z'), archive('2026-11-26T01:00:01Z')))

    expect(did.swept).to.deep.equal(['2026-11-26T01:00:02.001Z'])
  })

  it('has everything judged again for what it cannot read', async () => {
    const { did, take } = bench()

    await take(body('{"time":', '\n', line('PutObject', '1')))

    expect(did.swept).to.have.length(1)
    expect(did.verified).to.deep.equal(['1'])
  })

  const implausible = {
    'that cannot be made': '+275760-09-13T00:00:00.000Z',
    'two days in the future': '2026-11-28T01:10:00Z',
    'that is none': 'yesterday',
  }
  for (const [name, time] of Object.entries(implausible))
    it(`cannot read an entry with a time ${name}, and goes on`, async () => {
      const { did, take } = bench()

      await take(body(archive(time), line('PutObject', '0', { time }), line('PutObject', '1')))

      expect(did.swept).to.deep.equal(['2026-11-26T01:10:00.001Z'])
      expect(did).to.deep.include({ verified: ['1'], batches: 1 })
    })

  it('believes a clock of the store that is some hours ahead', async () => {
    const { did, take } = bench()

    await take(body(line('PutObject', '1', { time: '2026-11-26T23:00:00Z' })))

    expect(did).to.deep.include({ verified: ['1'], swept: [] })
  })

  const odd = {
    'half a surrogate in its key': line('PutObject', 'a\ud800'),
    'a key that no store can hold': line('PutObject', 'ö'.repeat(513)),
    'half a surrogate in its version': line('PutObject', 'a', {
      requestQuery: { versionId: '\ud800' },
    }),
    'a version that is no text': line('PutObject', 'a', { requestQuery: { versionId: { a: 1 } } }),
    'a note that cannot be made text': line('PostPolicyBucket', '', {
      responseHeader: { Location: '/b/a' },
      tags: { PutObject: { toString: null } },
    }),
    'headers that are none': line('CopyObject', 'a', {
      requestHeader: 7,
      requestPath: {},
      responseHeader: { 'x-amz-version-id': [] },
    }),
  }
  for (const [name, entry] of Object.entries(odd))
    it(`has everything judged again for an entry with ${name}, and publishes nothing`, async () => {
      const { did, take } = bench()

      await take(body(entry, line('PutObject', '1')))

      expect(did.swept).to.have.length(1)
      expect(did).to.deep.include({ verified: ['1'], batches: 1 })
    })

  it('does not take a batch for ever from which no job can be made', async () => {
    const { did, take } = bench(() => Promise.reject(new RangeError('Maximum call stack')))

    await take(body(line('PutObject', '1')))

    expect(did.swept).to.deep.equal(['2026-11-26T01:10:00.001Z'])
    expect(did.batches).to.equal(1)
  })

  it('takes a batch again when the disk could not take what follows from it', async () => {
    const { take } = bench(() => Promise.reject(new FatalError('write state.json', 'hint')))

    expect(await rejection(take(body(line('PutObject', '1'))))).to.be.instanceOf(FatalError)
  })

  it('outlives a job that fails while the rest of the body is on its way', async () => {
    const { take } = bench(() => Promise.reject(new PublishError('away')))
    const unhandled: unknown[] = []
    const note = (reason: unknown) => unhandled.push(reason)
    const others = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection').on('unhandledRejection', note)
    try {
      expect(await rejection(take(slow()))).to.be.instanceOf(PublishError)
      expect(unhandled).to.deep.equal([])
    } finally {
      process.removeListener('unhandledRejection', note)
      for (const other of others) process.on('unhandledRejection', other)
    }
  })

  it('does not acknowledge what the broker has not confirmed, and has tried all the rest', async () => {
    const { did, take } = bench(() => Promise.reject(new PublishError('away')))
    const many = Array.from({ length: 250 }, (_, index) => line('PutObject', String(index)))

    const error = await rejection(take(body(...many)))

    expect(error).to.be.instanceOf(PublishError)
    expect(did.batches).to.equal(0)
    expect(did.verified.length).to.be.lessThan(250)
  })

  it('says each of the first twenty writes a minute, and how many it has not said', () => {
    const said: Record<string, unknown>[] = []
    let now = 0
    const log = { warn: (_: string, fields: Record<string, unknown>) => said.push(fields) as never }
    const alerts = createAlerts(log as never, () => now)
    const entry = { accessKey: 'k', remoteHost: 'h', api: 'PutObject', time: 't' } as never
    const decision = { kind: 'verify' as const, written: { bucket: 'b', key: 'x' }, signs: ['s'] }

    for (let count = 0; count < 100; count++) alerts.tell(entry, decision)
    now = 60_000
    alerts.tell(entry, decision)

    expect(said).to.have.length(21)
    expect(said[0]).to.deep.include({ accessKey: 'k', remoteHost: 'h', bucket: 'b', key: 'x' })
    expect(said.at(-1)).to.include({ unsaidBefore: 80 })
  })
})

const of = (key: string) => ({ bucket: 'b', key })

describe('createUploads', () => {
  it('takes every upload for one of those once it can remember no more', () => {
    const uploads = createUploads(2)
    uploads.add(of('1'))
    uploads.add(of('2'))
    expect([uploads.has(of('1')), uploads.has(of('3'))]).to.deep.equal(['begun', undefined])
    uploads.add(of('3'))
    expect([uploads.has(of('1')), uploads.has(of('4'))]).to.deep.equal(['begun', 'unknown'])
  })
})
