// A batch of the audit log: cut into lines, worked off, confirmed before it is acknowledged.
import { expect } from 'chai'
import { Registry } from '@prometheus-io/client'
import { createAlerts } from '../../../services/store-audit/alerts.ts'
import { linesOf } from '../../../services/store-audit/lines.ts'
import { createMetrics } from '../../../services/store-audit/metrics.ts'
import { createTake } from '../../../services/store-audit/take.ts'
import { createUploads } from '../../../services/store-audit/uploads.ts'
import { PublishError } from '../../../services/shared/errors.ts'
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
  })
  return { did, take }
}

const archive = (time: string) =>
  line('PutObjectExtract', 'a.tar', {
    time,
    requestHeader: { 'X-Minio-Source-Replication-Request': 'true' },
  })

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
    expect([uploads.has(of('1')), uploads.has(of('3'))]).to.deep.equal([true, false])
    uploads.add(of('3'))
    expect(uploads.has(of('4'))).to.equal(true)
  })
})
