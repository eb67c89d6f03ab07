import { expect } from 'chai'
import { actOnMessage, giveUpAction, refuseRacyDeletes } from '../../../services/avscan/actions.ts'
import { DiscardError, FatalError, StoreUnavailableError } from '../../../services/shared/errors.ts'
import { bucketProbeKey } from '../../../services/shared/object-store.ts'
import { sealAction } from '../../../services/shared/proof.ts'
import type { StoredVersion } from '../../support/fake-object-store.ts'
import { bucket, proofKey, scanBench, type ScanBench } from '../../support/scan-bench.ts'
import { rejection } from '../../support/rejection.ts'

const unsealed = ({ key, versionId, etag, lastModified }: StoredVersion) => ({
  action: 'delete' as const,
  object: { bucket, key, versionId, etag, lastModified: lastModified.toISOString() },
  verdictId: 'v',
  signature: 'S',
})
const message = (job: object) => ({ body: Buffer.from(JSON.stringify(job)) })
const job = (version: StoredVersion, key = proofKey) =>
  message({ ...unsealed(version), seal: sealAction(unsealed(version), key) })

describe('actOnMessage', () => {
  let bench: ScanBench
  const begin = async (versioned: boolean) => {
    await bench?.close()
    bench = await scanBench({ versioned })
  }
  beforeEach(() => begin(true))
  afterEach(() => bench.close())

  const deps = (deleteUnversioned: 'refuse' | 'accept-race' = 'refuse') => ({
    ...bench.deps,
    recordsBucket: 'avscan-records',
    deleteUnversioned,
  })
  const probed = (versioned: boolean, deleteIfMatch: boolean) =>
    bench.store.records.set(
      `avscan-records/${bucketProbeKey(bucket)}`,
      JSON.stringify({ versioned, deleteIfMatch }),
    )

  it('deletes exactly that version and tells it', async () => {
    const infected = bench.store.put(bucket, 'k', 'bad')
    const clean = bench.store.put(bucket, 'k', 'good')

    await actOnMessage(job(infected), deps())

    expect(bench.store.all).to.deep.equal([clean])
    expect(bench.published.map((one) => one.routingKey)).to.deep.equal([
      'object.deleted.storagebucket',
    ])
  })

  it('takes "already gone" for done, with the same id', async () => {
    const infected = bench.store.put(bucket, 'k', 'bad')

    await actOnMessage(job(infected), deps())
    await actOnMessage(job(infected), deps())

    const [first, second] = bench.published
    expect(second?.messageId).to.equal(first?.messageId)
    expect(second?.json).to.have.nested.property('data.action.detail', 'already gone')
  })

  it('tells nothing before the deletion has happened', async () => {
    const infected = bench.store.put(bucket, 'k', 'bad')
    bench.store.before = (call) => {
      if (call === 'remove') throw new StoreUnavailableError('503')
    }

    expect(await rejection(actOnMessage(job(infected), deps()))).to.be.instanceOf(
      StoreUnavailableError,
    )
    expect(bench.published).to.deep.equal([])
  })

  it('believes no deletion after which the version is still there', async () => {
    const infected = bench.store.put(bucket, 'k', 'bad')
    bench.store.remove = () => Promise.resolve()

    expect(await rejection(actOnMessage(job(infected), deps()))).to.match(/still there/)
    expect(bench.published).to.deep.equal([])
  })

  describe('asked by somebody who may publish to the queue', () => {
    const forgeries: [string, (version: StoredVersion) => { body: Buffer }][] = [
      ['without a seal', (version) => message(unsealed(version))],
      ['under another key', (version) => job(version, 'x'.repeat(32))],
      ['under an empty key', (version) => job(version, '')],
      [
        'with the seal of another job',
        (version) =>
          message({
            ...unsealed(version),
            verdictId: 'w',
            seal: sealAction(unsealed(version), proofKey),
          }),
      ],
    ]
    for (const [how, forged] of forgeries)
      it(`deletes nothing ${how}, and tells nobody that it did`, async () => {
        const clean = bench.store.put(bucket, 'k', 'good')

        expect(await rejection(actOnMessage(forged(clean), deps()))).to.be.instanceOf(DiscardError)
        expect(bench.store.all).to.deep.equal([clean])
        expect(bench.published).to.deep.equal([])
      })

    it('deletes what is proven infected: jobs of 1.0 have no seal', async () => {
      const infected = bench.store.put(bucket, 'k', 'bad')
      const marked = { bucket, key: 'k', facts: await bench.store.head({ bucket, key: 'k' }) }
      await bench.marks.write(marked, {
        tag: 'infected',
        reason: 0,
        signatureVersion: '1',
        judgedAt: new Date(),
        write: {},
        content: '',
        detail: { at: '', reason: '', signature: '', engine: '' },
      })

      await actOnMessage(message(unsealed(infected)), deps())

      expect(bench.store.all).to.deep.equal([])
    })
  })

  it('discards what is no action job', async () => {
    for (const body of ['x', '{}', '{"action":"format"}', '{"action":"delete","object":{}}'])
      expect(await rejection(actOnMessage({ body: Buffer.from(body) }, deps()))).to.be.instanceOf(
        DiscardError,
      )
  })

  it('says what to do when it is given up', async () => {
    const infected = bench.store.put(bucket, 'k', 'bad')

    await giveUpAction(job(infected), new Error('AccessDenied'), deps())

    expect(bench.published[0]?.routingKey).to.equal('object.action-failed.storagebucket')
    expect(bench.published[0]?.json).to.have.nested.property('data.action.detail', 'AccessDenied')
    expect(bench.store.all).to.deep.equal([infected])
  })

  describe('for an object from before versioning', () => {
    for (const versionId of ['null', undefined])
      it(`deletes it for good, behind a newer version, when the job names it ${versionId}`, async () => {
        bench.store.versioning = 'off'
        const infected = bench.store.put(bucket, 'k', 'bad')
        bench.store.versioning = 'enabled'
        const newer = bench.store.put(bucket, 'k', 'good')
        const removed: unknown[] = []
        bench.store.before = (call, object) => {
          if (call === 'remove') removed.push(object.versionId)
        }
        probed(true, true)

        await actOnMessage(job({ ...infected, versionId }), deps())

        expect(bench.store.all).to.deep.equal([newer])
        expect(removed).to.deep.equal(['null'])
      })

    it('refuses it while versioning is suspended, for an upload takes its place', async () => {
      bench.store.versioning = 'suspended'
      const infected = bench.store.put(bucket, 'k', 'bad')
      probed(false, false)

      const error = await rejection(actOnMessage(job({ ...infected, versionId: 'null' }), deps()))

      expect(error).to.be.instanceOf(FatalError)
      expect(bench.store.all).to.deep.equal([infected])
    })
  })

  describe('on an unversioned bucket', () => {
    beforeEach(() => begin(false))

    it('deletes where the store is known to honour If-Match', async () => {
      const infected = bench.store.put(bucket, 'k', 'bad')
      probed(false, true)

      await actOnMessage(job(infected), deps())

      expect(bench.store.all).to.deep.equal([])
    })

    it('leaves newer bytes alone', async () => {
      const infected = bench.store.put(bucket, 'k', 'bad')
      const clean = bench.store.put(bucket, 'k', 'good')
      probed(false, true)

      await actOnMessage(job(infected), deps())

      expect(bench.store.all).to.deep.equal([clean])
      expect(bench.published[0]?.json).to.have.nested.property('data.action.detail', 'overwritten')
    })

    for (const [title, prepare] of [
      ['does not honour If-Match', () => probed(false, false)],
      ['has not been probed', () => {}],
    ] as const) {
      it(`refuses where the store ${title}, with the three ways out`, async () => {
        const infected = bench.store.put(bucket, 'k', 'bad')
        prepare()

        const error = await rejection(actOnMessage(job(infected), deps()))

        expect((error as FatalError).hint).to.match(/versioning.*DELETE_FILE=false.*accept-race/)
        expect(bench.store.all).to.deep.equal([infected])
      })
    }

    it('deletes when the operator accepts the race', async () => {
      const infected = bench.store.put(bucket, 'k', 'bad')

      await actOnMessage(job(infected), deps('accept-race'))

      expect(bench.store.all).to.deep.equal([])
    })

    it('leaves newer bytes alone that it sees, even when the operator accepts the race', async () => {
      bench.store.ignoresIfMatch = true
      const infected = bench.store.put(bucket, 'k', 'bad')
      const clean = bench.store.put(bucket, 'k', 'good')

      await actOnMessage(job(infected), deps('accept-race'))

      expect(bench.store.all).to.deep.equal([clean])
    })

    it('refuses to start where deletions would race, unless told otherwise or not deleting', async () => {
      probed(false, false)

      expect(await rejection(refuseRacyDeletes([bucket], true, deps()))).to.be.instanceOf(
        FatalError,
      )
      await refuseRacyDeletes([bucket], false, deps())
      await refuseRacyDeletes([bucket], true, deps('accept-race'))
      probed(true, false)
      await refuseRacyDeletes([bucket], true, deps())
    })
  })
})
