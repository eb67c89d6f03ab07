// engine.outage `pass-unscanned`: what is let pass, what waits, and what is never lost by it.
import { expect } from 'chai'
import { scanMessage } from '../../../services/avscan/scan.ts'
import { EngineUnavailableError } from '../../../services/shared/errors.ts'
import { readProof } from '../../../services/shared/proof.ts'
import { marker } from '../../support/fake-engine.ts'
import type { StoredVersion } from '../../support/fake-object-store.ts'
import { rejection } from '../../support/rejection.ts'
import {
  bucket,
  eventMessage,
  jobMessage,
  proofKey,
  scanBench,
  type ScanBench,
} from '../../support/scan-bench.ts'

const proofOf = ({ key, versionId, etag, lastModified, bytes, tags }: StoredVersion) => {
  const size = bytes.length
  const verdict = tags['scanned'] ?? ''
  const facts = { bucket, key, versionId, etag, lastModified, size, verdict }
  return readProof(tags['scanned-proof'], facts, [proofKey])
}

describe('an object while no engine can be used and new ones are let pass', () => {
  let bench: ScanBench
  let outage: Error | undefined
  let passed: Date[]
  const begin = async (options: Parameters<typeof scanBench>[0] = {}) => {
    await bench?.close()
    bench = await scanBench(options)
    outage = new EngineUnavailableError('no address of clamd can be used')
    passed = []
    bench.deps.passing = { why: () => outage, passed: (date) => void passed.push(date) }
    bench.engine.onOpen = () => {
      if (outage !== undefined) throw outage
    }
  }
  beforeEach(() => begin())
  afterEach(() => bench.close())

  const put = (content: string | Buffer, tags = {}, key = 'a.txt') =>
    bench.store.put(bucket, key, content, tags)
  const scan = (version: StoredVersion, about = {}) =>
    scanMessage(eventMessage(version, about), bench.deps)
  const statuses = () =>
    bench.published.map(({ routingKey }) => routingKey.replace(`.${bucket}`, ''))

  it('is marked unscanned with a proof that says so, and nothing of it is read', async () => {
    const version = put(marker, { mine: 'kept' })

    await scan(version)

    expect(version.tags).to.include({ scanned: 'unscanned', mine: 'kept' })
    expect(proofOf(version)).to.deep.include({ reason: 199, signatureVersion: 'none' })
    expect(bench.store.calls).not.to.include('open')
    expect(passed).to.deep.equal([version.lastModified])
  })

  it('is told as skipped, with the reason, and no deletion is asked for', async () => {
    await scan(put(marker))

    expect(statuses()).to.deep.equal(['verdict.skipped'])
    expect(bench.published[0]?.json).to.have.nested.property('data.scanStatus', 'SKIPPED')
    expect(bench.published[0]?.json).to.deep.nested.include({
      'data.scanResultDetails.statusReasons': [199],
      'data.scanResultDetails.detail':
        'not scanned, let pass as unscanned: no address of clamd can be used',
      'data.action': { type: 'tag' },
    })
  })

  it('is told again by a redelivery, under the same id', async () => {
    const version = put('x')
    await scan(version)
    await scan(version, { again: true, deliveries: 1 })

    const [first, second] = bench.published
    expect(first?.messageId).to.be.a('string').that.equals(second?.messageId)
  })

  it('is scanned by the sweep after the outage', async () => {
    const version = put(marker)
    await scan(version)
    outage = undefined

    await scanMessage(jobMessage('sweep', [version], { id: 's' }), bench.deps)

    expect(version.tags['scanned']).to.equal('infected')
    expect(statuses()).to.include('verdict.infected')
  })

  for (const kind of ['sweep', 'rescan'])
    it(`waits when it is a ${kind} that asks: nobody waits for that one`, async () => {
      const version = put('x')

      const job = jobMessage(kind, [version], { id: '27801', again: true })
      const error = await rejection(scanMessage(job, bench.deps))

      expect(error).to.equal(outage)
      expect(version.tags).to.deep.equal({})
    })

  for (const [content, tag] of [
    [marker, 'infected'],
    ['x', 'clean'],
  ] as const)
    it(`keeps its proven ${tag} and waits`, async () => {
      outage = undefined
      const version = put(content)
      await scan(version)
      outage = new EngineUnavailableError('away again')

      const error = await rejection(scan(version, { again: true, deliveries: 1 }))

      expect(error).to.equal(outage)
      expect(version.tags['scanned']).to.equal(tag)
      expect(passed).to.deep.equal([])
    })

  it('cannot have its proven infected replaced, whoever asks for the mark', async () => {
    outage = undefined
    const version = put(marker)
    await scan(version)
    const facts = await bench.store.head({ bucket, key: 'a.txt', versionId: version.versionId })
    const detail = { at: '', reason: '', signature: '', engine: '' }
    const verdict = { tag: 'unscanned', reason: 199, signatureVersion: '99999' } as const
    const told = { judgedAt: new Date(2_000_000_000_000), write: {}, content: '' }
    const mark = { ...verdict, ...told, detail }

    const error = await rejection(bench.marks.write({ bucket, key: 'a.txt', facts }, mark))

    expect(error.message).to.include('proven infected')
    expect(version.tags['scanned']).to.equal('infected')
  })

  it('gets its verdict when it is too large: no engine is needed for that', async () => {
    await begin({ maxObjectBytes: 10 })
    const version = put('more than ten bytes')

    await scan(version)

    expect(statuses()).to.deep.equal(['verdict.unscannable'])
  })

  it('is nothing when it is gone', async () => {
    const version = put('x')
    bench.store.all.splice(0)

    await scan(version)

    expect(bench.published).to.deep.equal([])
  })
})
