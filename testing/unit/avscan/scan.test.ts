import { expect } from 'chai'
import type { Readable } from 'node:stream'
import { Alike } from '../../../services/avscan/alike.ts'
import { fixtureOf } from '../../../services/avscan/formats/fixtures.ts'
import { giveUpMessage, scanMessage } from '../../../services/avscan/scan.ts'
import type { Found } from '../../../services/avscan/versions.ts'
import { allEndpoints, configSchema } from '../../../services/shared/config-schema.ts'
import type { VerdictMessage } from '../../../services/shared/messages.ts'
import { readProof, writeProof } from '../../../services/shared/proof.ts'
import {
  DiscardError,
  NoSpaceError,
  ObjectGoneError,
  OutageError,
  PublishError,
  RetryLaterError,
  StoreUnavailableError,
} from '../../../services/shared/errors.ts'
import type { StoredVersion } from '../../support/fake-object-store.ts'
import { marker } from '../../support/fake-engine.ts'
import {
  bucket,
  eventMessage,
  jobMessage,
  proofKey,
  scanBench,
  type ScanBench,
} from '../../support/scan-bench.ts'
import { rejection } from '../../support/rejection.ts'
import { secretOf } from '../../support/webhook-receiver.ts'

const isProven = ({ key, versionId, etag, lastModified, bytes, tags }: StoredVersion) => {
  const size = bytes.length
  const verdict = tags['scanned'] ?? ''
  const facts = { bucket, key, versionId, etag, lastModified, size, verdict }
  return readProof(tags['scanned-proof'], facts, [proofKey])
}

describe('scanMessage', () => {
  let bench: ScanBench
  const begin = async (options: Parameters<typeof scanBench>[0] = {}) => {
    await bench?.close()
    bench = await scanBench(options)
  }
  beforeEach(() => begin())
  afterEach(() => bench.close())

  const put = (content: string | Buffer, tags = {}, key = 'a.txt') =>
    bench.store.put(bucket, key, content, tags)
  const scan = (version: StoredVersion, about = {}) =>
    scanMessage(eventMessage(version, about), bench.deps)
  const routes = () => bench.published.map((one) => one.routingKey)

  it('tags a clean object with a proof and tells the verdict', async () => {
    const version = put('hello')

    await scan(version)

    expect(version.tags['scanned']).to.equal('clean')
    expect(isProven(version)).to.deep.include({ reason: 0, signatureVersion: '27800' })
    expect(routes()).to.deep.equal(['verdict.clean.storagebucket'])
    expect(bench.published[0]?.json).to.deep.include({ type: 'object.scan.clean' })
  })

  it('names the endpoints that want the verdict, and no others', async () => {
    const config = configSchema.parse({
      publish: { url: 'http://127.0.0.1:1/', secret: secretOf(1) },
      endpoints: [
        { name: 'all', url: 'http://127.0.0.1:1/', secret: secretOf(1), verdicts: ['clean'] },
        { name: 'b', url: 'http://127.0.0.1:1/', secret: secretOf(1), prefix: 'b/' },
      ],
    })
    bench.deps = {
      ...bench.deps,
      outbox: { ...bench.deps.outbox, endpoints: allEndpoints(config) },
    }

    await scan(put('hello'))
    await scan(put(`x${marker}`))
    await scan(put(`y${marker}`, {}, 'b/y'))

    const verdicts = bench.published.filter(({ routingKey }) => routingKey.startsWith('verdict.'))
    expect(verdicts.map(({ alsoTo }) => alsoTo)).to.deep.equal([
      ['avscan.notify.all'],
      ['avscan.notify'],
      ['avscan.notify', 'avscan.notify.b'],
    ])
  })

  it('tags an infected object first, then tells it and asks for the deletion of that version', async () => {
    const version = put(`x${marker}`)
    const order: string[] = []
    bench.store.before = (call) => order.push(call)
    bench.beforePublish = ({ routingKey }) => order.push(routingKey)

    await scan(version)

    expect(version.tags['scanned']).to.equal('infected')
    expect(order).to.deep.equal([
      'open',
      'tags',
      'setTags',
      'verdict.infected.storagebucket',
      's3minioqueue.actions',
    ])
    expect(bench.published[1]?.json).to.deep.include({
      action: 'delete',
      object: {
        bucket,
        key: 'a.txt',
        versionId: version.versionId,
        etag: version.etag,
        lastModified: version.lastModified.toISOString(),
      },
    })
    expect(bench.store.all, 'the scan path itself deleted').to.include(version)
  })

  it('reports the facts of the scan', async () => {
    await scan(put('hello'))

    const [told] = bench.published
    const { data } = (told?.json ?? {}) as unknown as { data: Record<string, never> }
    expect(data['scanStatus']).to.equal('COMPLETED')
    expect(data['scanResultDetails']).to.deep.equal({
      scanResultStatus: 'CLEAN',
      threats: [],
      statusReasons: [],
    })
    expect(data['scan']).to.include({
      signatureVersion: '27800',
      signatureSet: 'official',
      bytes: 5,
      complete: true,
    })
    expect((data['scan'] as unknown as Record<string, unknown>)['sha256']).to.equal(
      '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
    )
    expect(data['action']).to.deep.equal({ type: 'tag' })
  })

  it('keeps the tags of the uploader', async () => {
    const version = put('hello', { project: 'x', code: '007' })

    await scan(version)

    expect(version.tags).to.include({ project: 'x', code: '007', scanned: 'clean' })
  })

  it('scans an object that brings its own verdict tag, and corrects it', async () => {
    const version = put(marker, {
      scanned: 'clean',
      'scanned-proof': '2.0.27800.20261121T040002345Z.20261121T040002345Z...AAAAAAAAAAAAAAAAAAAAAA',
      mine: 'y',
    })

    await scan(version)

    expect(version.tags).to.include({ scanned: 'infected', mine: 'y' })
    expect(isProven(version)).to.not.equal(undefined)
  })

  it('leaves ten tags of the uploader alone and writes the record instead', async () => {
    const tags = Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`t${index}`, 'v']))
    const version = put('hello', { ...tags })

    await scan(version)

    expect(version.tags).to.deep.equal(tags)
    expect([...bench.store.records.keys()]).to.have.length(1)
    expect(JSON.parse([...bench.store.records.values()][0] ?? '')).to.include({
      bucket,
      key: 'a.txt',
      verdict: 'clean',
      etag: version.etag,
    })
    expect(routes()).to.deep.equal(['verdict.clean.storagebucket'])
    const facts = { ...version, size: 5, tagCount: 10 }
    expect(await bench.marks.proven({ bucket, key: 'a.txt', facts })).to.include({ tag: 'clean' })
  })

  it('writes the bare verdict beside nine tags, and the proof into the record', async () => {
    const tags = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`t${index}`, 'v']))
    const version = put('hello', { ...tags })

    await scan(version)

    expect(version.tags).to.deep.equal({ ...tags, scanned: 'clean' })
    expect(bench.store.records.size).to.equal(1)
  })

  it('writes no tag at all with TAG_FILES=false, but a record', async () => {
    await begin({ tags: false })
    const version = put('hello', { mine: 'x' })

    await scan(version)

    expect(version.tags).to.deep.equal({ mine: 'x' })
    expect(bench.store.records.size).to.equal(1)
  })

  it('adds detail tags as far as they fit, in characters that S3 takes', async () => {
    await begin({ tagDetail: true })
    bench.engine.judge = () => ({ status: 'infected', signature: '{HEX}Php.Bad(1)' })
    const version = put('hello', { a: '1', b: '2', c: '3', d: '4', e: '5', f: '6' })

    await scan(version)

    expect(Object.keys(version.tags)).to.have.length(10)
    expect(version.tags).to.include({
      'scanned-signature': '_HEX_Php.Bad_1_',
      scanned: 'infected',
      f: '6',
    })
  })

  it('calls an encrypted archive unscannable: tag no, never deleted', async () => {
    bench.engine.judge = () => ({
      status: 'unscannable',
      reason: 107,
      detail: 'Heuristics.Encrypted.Zip',
    })
    const version = put('PK')

    await scan(version)

    expect(version.tags['scanned']).to.equal('no')
    expect(isProven(version)).to.include({ reason: 107 })
    expect(routes()).to.deep.equal(['verdict.unscannable.storagebucket'])
    expect(bench.published[0]?.json).to.have.nested.property('data.scan.complete', false)
  })

  it('calls unscannable what a browser unpacks by its Content-Encoding and no engine does', async () => {
    const version = put('hello')
    version.contentEncoding = 'br'

    await scan(version)

    expect(isProven(version)).to.include({ reason: 105 })
  })

  it('calls a container unscannable that the engine does not open: 105, tag no, never deleted', async () => {
    const version = bench.store.put(bucket, 'a.rar', fixtureOf('rar5') as Buffer)

    await scan(version)

    expect(version.tags['scanned']).to.equal('no')
    expect(isProven(version)).to.include({ reason: 105 })
    expect(routes()).to.deep.equal(['verdict.unscannable.storagebucket'])
    expect(bench.published[0]?.json).to.have.nested.property(
      'data.scanResultDetails.detail',
      'RAR 5: fake 1.0 does not open it',
    )
    expect(await bench.deps.metrics.registry.metrics()).to.contain(
      'avscan_unscannable_total{reason="105",format="rar5"} 1',
    )
  })

  it('does not look into what an engine has found something in', async () => {
    bench.deps.containers = { inspect: () => Promise.reject(new Error('looked')) }
    bench.engine.judge = () => ({ status: 'infected', signature: 'Bad' })

    await scan(bench.store.put(bucket, 'a.rar', fixtureOf('rar5') as Buffer))

    expect(routes()).to.include('verdict.infected.storagebucket')
  })

  it('does not download an object over the limit: unscannable 101, not deleted', async () => {
    await begin({ maxObjectBytes: 10 })
    const version = put('x'.repeat(11))

    await scan(version)

    expect(version.tags['scanned']).to.equal('no')
    expect(bench.engine.scanned).to.deep.equal([])
    expect(bench.published[0]?.json).to.have.nested.property(
      'data.scanResultDetails.statusReasons[0]',
      101,
    )
    expect(bench.store.all).to.include(version)
  })

  it('scans an object of exactly the limit', async () => {
    await begin({ maxObjectBytes: 10 })
    const version = put('x'.repeat(10))

    await scan(version)

    expect(version.tags['scanned']).to.equal('clean')
  })

  it('scans an empty object', async () => {
    const version = put('')

    await scan(version)

    expect(version.tags['scanned']).to.equal('clean')
    expect(bench.engine.scanned).to.have.length(1)
  })

  it('drops a folder, but scans a key with a slash at its end that has a body', async () => {
    const folder = put('', {}, 'folder/')
    const evil = put(marker, {}, 'evil/')

    await scan(folder)
    await scan(evil)

    expect(folder.tags).to.deep.equal({})
    expect(evil.tags['scanned']).to.equal('infected')
  })

  it('does nothing for a key that is gone', async () => {
    await scanMessage(eventMessage({ key: 'gone', versionId: 'v1' }), bench.deps)

    expect(bench.published).to.deep.equal([])
  })

  it('does nothing for a bucket that is not ours', async () => {
    await scanMessage(eventMessage({ key: 'a.txt', versionId: 'v', bucket: 'other' }), bench.deps)

    expect(bench.store.calls).to.deep.equal([])
  })

  it('throws DiscardError for what is no event', async () => {
    const message = { ...eventMessage({ key: 'x' }), body: Buffer.from('nonsense') }

    expect(await rejection(scanMessage(message, bench.deps))).to.be.instanceOf(DiscardError)
  })

  it('scans that version even when a newer one is there', async () => {
    const old = put(marker)
    const newer = put('clean now')

    await scan(old)

    expect(old.tags['scanned']).to.equal('infected')
    expect(newer.tags).to.deep.equal({})
    expect(bench.published[1]?.json).to.have.nested.property('object.versionId', old.versionId)
  })

  it('tells nothing about a clean object that is deleted while it is scanned', async () => {
    const version = put('hello')
    bench.engine.judge = async () => {
      await bench.store.remove(version)
      return { status: 'clean' }
    }

    await scan(version)

    expect(bench.published).to.deep.equal([])
  })

  it('still tells that an object was infected which is deleted while it is scanned', async () => {
    const version = put(marker)
    bench.engine.judge = async () => {
      await bench.store.remove(version)
      return { status: 'infected', signature: 'Fake.Marker' }
    }

    await scan(version)

    expect(routes()).to.include('verdict.infected.storagebucket')
  })

  for (const [title, prepare, type] of [
    [
      'the engine fails',
      (b: ScanBench) =>
        (b.engine.judge = () => {
          throw new Error('scan ERROR')
        }),
      Error,
    ],
    [
      'the store is away',
      (b: ScanBench) =>
        (b.store.before = () => {
          throw new StoreUnavailableError('503')
        }),
      StoreUnavailableError,
    ],
    [
      'tagging fails',
      (b: ScanBench) =>
        (b.store.before = (call) => {
          if (call === 'setTags') throw new StoreUnavailableError('503')
        }),
      StoreUnavailableError,
    ],
    ['the download breaks off', (b: ScanBench) => (b.store.cutAfterBytes = 2), Error],
    [
      'publishing is not confirmed',
      (b: ScanBench) =>
        (b.beforePublish = () => {
          throw new PublishError('no confirm')
        }),
      PublishError,
    ],
  ] as const) {
    it(`throws, tells nothing and deletes nothing when ${title}`, async () => {
      const version = put(marker)
      prepare(bench)

      const error = await rejection(scan(version))

      expect(error).to.be.instanceOf(type)
      expect(bench.published).to.deep.equal([])
      expect(bench.store.all).to.include(version)
      expect(bench.folder.budget.usedBytes).to.equal(0)
      expect(await bench.filesLeft()).to.deep.equal([])
    })
  }

  it('says NoSpaceError before the first body byte when the scan folder has no room', async () => {
    bench.deps.folder.checkRoom = async (bytes) => {
      throw new NoSpaceError('full', bytes)
    }

    expect(await rejection(scan(put('hello')))).to.be.instanceOf(NoSpaceError)
    expect(bench.engine.scanned).to.deep.equal([])
  })

  it('repeats the same ids when it does the work again', async () => {
    const version = put(marker)

    await scan(version)
    await scan(version, { deliveries: 1 })

    const ids = bench.published.map((one) => one.messageId)
    expect(ids.slice(2)).to.deep.equal(ids.slice(0, 2))
    expect(new Set(ids).size).to.equal(2)
  })

  it('gives two uploads of the same bytes different ids', async () => {
    await scan(put('same'))
    await scan(put('same'))

    expect(bench.published[0]?.messageId).to.not.equal(bench.published[1]?.messageId)
  })

  it('never puts clean over a proven infected of the same signatures', async () => {
    const version = put(marker)
    await scan(version)
    bench.engine.judge = () => ({ status: 'clean' })

    const error = await rejection(scan(version, { attempt: 2 }))

    expect(error.message).to.include('proven infected')
    expect(version.tags['scanned']).to.equal('infected')
    expect(routes().filter((key) => key.startsWith('verdict.clean'))).to.deep.equal([])
  })

  it('puts clean over a proven infected when the signatures are newer', async () => {
    const version = put(marker)
    await scan(version)
    bench.engine.judge = () => ({ status: 'clean' })
    Object.assign(bench.engine, {
      info: { engineVersion: '1', signatureVersion: '27801', signatureSet: 'official' },
    })

    await scan(version, { attempt: 2 })

    expect(version.tags['scanned']).to.equal('clean')
  })

  it('never holds more downloads than the budget has room for', async () => {
    await begin({ budgetBytes: 25_000, maxObjectBytes: 12_500 })
    const versions = Array.from({ length: 8 }, (_, index) =>
      put(Buffer.alloc(10_000, index), {}, `k${index}`),
    )
    let most = 0
    bench.engine.onWrite = async () => {
      most = Math.max(most, bench.folder.budget.usedBytes)
      await new Promise((resolve) => setImmediate(resolve))
    }

    await Promise.all(versions.map((version) => scan(version)))

    expect(most).to.equal(20_000)
    expect(versions.map((version) => version.tags['scanned'])).to.deep.equal(Array(8).fill('clean'))
  })

  it('sends a large one to the bulk lane when no room comes free, where it waits', async () => {
    await begin({ budgetBytes: 25_000, maxObjectBytes: 25_000 })
    const large = put(Buffer.alloc(20_000), {}, 'large')
    const small = put(Buffer.alloc(1000), {}, 'small')
    bench.folder.budget.tryReserve(20_000)

    expect(await rejection(scan(large))).to.include({ name: 'GiveWayError' })
    await scan(small)
    expect(small.tags['scanned']).to.equal('clean')
    const waiting = scanMessage(eventMessage(large), bench.deps, 'bulk')
    bench.folder.budget.release(20_000)
    await waiting
    expect(large.tags['scanned']).to.equal('clean')
    expect(bench.folder.budget.usedBytes).to.equal(0)
  })

  it('lets go of a download that nobody reads, for another scan of the object is in progress', async () => {
    const version = put('a')
    const held = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    bench.engine.onOpen = () => {
      begun.resolve()
      return held.promise
    }
    const bodies: Readable[] = []
    const store: typeof bench.store = Object.create(bench.store, {
      open: {
        value: async (...args: Parameters<typeof bench.store.open>) => {
          const opened = await bench.store.open(...args)
          bodies.push(opened.body)
          return opened
        },
      },
    })
    const first = scan(version)
    await begun.promise

    await rejection(scanMessage(eventMessage(version), { ...bench.deps, store }))

    expect(bodies.map(({ destroyed }) => destroyed)).to.deep.equal([true])
    held.resolve()
    await first
  })

  for (const [title, about] of [
    ['come back five times', { deliveries: 5 }],
    ['failed twice', { attempt: 3 }],
  ] as const) {
    it(`scans alone what has ${title}, and its neighbours side by side`, async () => {
      const names = ['v0', 'v1', 'v2', 'poison', 'v4', 'v5']
      const versions = names.map((name) => put(name, {}, name))
      let running = 0
      const beside = new Map<string, number>()
      bench.engine.judge = async (bytes) => {
        running++
        let most = running
        for (let tick = 0; tick < 20; tick++) {
          await new Promise((resolve) => setImmediate(resolve))
          most = Math.max(most, running)
        }
        running--
        beside.set(bytes.toString(), most)
        return { status: 'clean' }
      }

      await Promise.all(
        versions.map((version) => scan(version, version.key === 'poison' ? about : {})),
      )

      expect(beside.get('poison')).to.equal(1)
      expect(Math.max(...beside.values())).to.be.greaterThan(1)
    })
  }

  describe('without a versionId', () => {
    it('scans the version that has the etag of the event', async () => {
      const other = put('other')
      const meant = put('meant')
      put('newest')

      await scanMessage(eventMessage({ key: 'a.txt', etag: meant.etag }), bench.deps)

      expect(meant.tags['scanned']).to.equal('clean')
      expect(other.tags).to.deep.equal({})
    })

    it('scans every version with that etag which has no proof', async () => {
      const first = put('same')
      const second = put('same')

      await scanMessage(eventMessage({ key: 'a.txt', etag: first.etag }), bench.deps)
      const scans = bench.engine.scanned.length
      await scanMessage(eventMessage({ key: 'a.txt', etag: first.etag }), bench.deps)

      expect([first.tags['scanned'], second.tags['scanned']]).to.deep.equal(['clean', 'clean'])
      expect(scans).to.equal(2)
      expect(bench.engine.scanned.length, 'scanned proven versions again').to.equal(2)
    })

    it('asks once for the proof of each of many uploads of the same bytes', async () => {
      const uploads = Array.from({ length: 60 }, () => put('same'))
      bench.store.calls.length = 0

      for (const { etag } of uploads)
        await scanMessage(eventMessage({ key: 'a.txt', etag }), bench.deps)

      expect(bench.engine.scanned).to.have.length(60)
      expect(bench.store.calls.filter((call) => call === 'tags').length).to.be.lessThan(5 * 60)
    })

    it('comes to an end, whatever time a delivery has: what was told stays told', async () => {
      const uploads = Array.from({ length: 4 }, () => put('same'))
      const event = { key: 'a.txt', etag: uploads[0]?.etag ?? '' }
      let left = 0
      bench.engine.onOpen = () => {
        // As when the broker takes the delivery back.
        if (left-- === 0) throw new OutageError('the channel is gone')
      }
      let rounds = 0
      for (let isOver = false; !isOver; rounds++) {
        left = 1
        isOver = await scanMessage(eventMessage(event, { again: rounds > 0 }), bench.deps).then(
          () => true,
          () => false,
        )
        expect(rounds).to.be.lessThan(10)
      }

      expect(uploads.map(({ tags }) => tags['scanned'])).to.deep.equal(Array(4).fill('clean'))
      expect(bench.engine.scanned).to.have.length(4)
    })

    it('tells no failure of a version whose verdict it has told', async () => {
      const uploads = [put('same'), put('same')]
      const event = { key: 'a.txt', etag: uploads[0]?.etag ?? '' }
      let opened = 0
      bench.engine.onOpen = () => {
        if (opened++ > 0) throw new OutageError('the engine is away')
      }
      await rejection(scanMessage(eventMessage(event), bench.deps))
      const told = uploads.filter(({ tags }) => tags['scanned'] === 'clean')
      expect(told).to.have.length(1)

      await giveUpMessage(eventMessage(event), new Error('five times'), bench.deps)

      const ofTold = bench.published
        .map(({ json }) => json as unknown as VerdictMessage)
        .filter(({ data }) => data.s3ObjectDetails.versionId === told[0]?.versionId)
      expect(ofTold.map(({ type }) => type)).to.deep.equal(['object.scan.clean'])
      expect(bench.published).to.have.length(2)
    })

    it('tells a verdict again where it is only proven: who wrote the proof may have died', async () => {
      const uploads = [put('same'), put('same')]
      const event = { key: 'a.txt', etag: uploads[0]?.etag ?? '' }
      await scanMessage(eventMessage(event), bench.deps)
      const deps = { ...bench.deps, alike: new Alike<Found[]>() }
      await scanMessage(eventMessage(event), deps)
      expect(bench.published).to.have.length(2)

      await scanMessage(eventMessage(event, { again: true }), deps)

      expect(bench.published).to.have.length(4)
    })

    it('judges by a verify job what it has told, for its tags may be gone since', async () => {
      const uploads = [put('same'), put('same')]
      const { etag } = uploads[0] ?? {}
      await scanMessage(eventMessage({ key: 'a.txt', etag: etag ?? '' }), bench.deps)
      for (const upload of uploads) upload.tags = {}

      await scanMessage(jobMessage('verify', [{ bucket, key: 'a.txt', etag }]), bench.deps)

      expect(uploads.map(({ tags }) => tags['scanned'])).to.deep.equal(['clean', 'clean'])
    })

    it('scans the others when somebody has one of them in hand, and comes back for that', async () => {
      const first = put('same')
      const second = put('same')
      const held = Promise.withResolvers<void>()
      const begun = Promise.withResolvers<void>()
      bench.engine.onOpen = () => {
        begun.resolve()
        return held.promise
      }
      const ofFirst = scan(first)
      await begun.promise
      bench.engine.onOpen = () => {}

      const error = await rejection(
        scanMessage(eventMessage({ key: 'a.txt', etag: first.etag }), bench.deps),
      )

      expect(error).to.include({ name: 'RetryLaterError', counted: false })
      expect(second.tags['scanned']).to.equal('clean')
      held.resolve()
      await ofFirst
      expect(first.tags['scanned']).to.equal('clean')
    })

    it('scans again what an upload of the same bytes has overwritten since, beside versions that have a proof', async () => {
      bench.store.versioning = 'off'
      const old = put('same')
      await scan(old)
      bench.store.versioning = 'enabled'
      const version = put('same')
      await scan(version)
      const scans = bench.engine.scanned.length
      bench.store.now = old.lastModified.getTime() + 60_000

      const event = { key: 'a.txt', etag: old.etag, lastModified: new Date(bench.store.now) }
      await scanMessage(eventMessage(event), bench.deps)

      expect(bench.engine.scanned.length - scans).to.equal(1)
    })

    it('does not take a longer key with the same beginning', async () => {
      const longer = put('same', {}, 'a.txt.bak')
      const meant = put('same')

      await scanMessage(eventMessage({ key: 'a.txt', etag: meant.etag }), bench.deps)

      expect(longer.tags).to.deep.equal({})
      expect(meant.tags['scanned']).to.equal('clean')
    })

    it('finds the object of a form upload, whose event has no key', async () => {
      const version = put('form', {}, 'some/form.bin')
      const body = {
        Records: [
          {
            eventSource: 'aws:s3',
            eventName: 's3:ObjectCreated:Post',
            s3: {
              configurationId: 'rabbitmq-global',
              bucket: { name: bucket },
              object: { key: '', eTag: `"${version.etag}"` },
            },
          },
        ],
      }

      await scanMessage(
        { ...eventMessage({ key: 'x' }), body: Buffer.from(JSON.stringify(body)) },
        bench.deps,
      )

      expect(version.tags['scanned']).to.equal('clean')
    })
  })

  describe('on an unversioned bucket', () => {
    beforeEach(() => begin({ versioned: false }))

    it('tags the object and pins the deletion to its etag', async () => {
      const version = put(marker)

      await scan(version)

      expect(version.tags['scanned']).to.equal('infected')
      expect(bench.published[1]?.json).to.have.nested.property('object.etag', version.etag)
    })

    it('scans what is there now when the object was overwritten before the download', async () => {
      const old = put('old')
      const current = put(marker)

      await scanMessage(eventMessage({ key: 'a.txt', etag: old.etag }), bench.deps)

      expect(current.tags['scanned']).to.equal('infected')
      expect(bench.published[0]?.json).to.have.nested.property(
        'data.s3ObjectDetails.eTag',
        current.etag,
      )
    })

    it('takes its tag off newer bytes and queues them when the object is overwritten while it is scanned', async () => {
      const old = put('old')
      bench.engine.judge = () => {
        put(marker, { mine: 'x' })
        return { status: 'clean' }
      }

      await scan(old)

      const current = bench.store.all.at(-1)
      expect(current?.tags).to.deep.equal({ mine: 'x' })
      const job = bench.published.find((one) => one.routingKey === 's3minioqueue')
      expect(job?.json).to.deep.include({ objects: [{ bucket, key: 'a.txt', versionId: 'null' }] })
    })
  })

  describe('for an object from before versioning, or written while it was suspended', () => {
    it('judges it behind a newer version, which is not judged in its place', async () => {
      bench.store.versioning = 'off'
      const old = put(`old ${marker}`)
      bench.store.versioning = 'enabled'
      const newer = put('newer')

      await scanMessage(
        jobMessage('sweep', [{ bucket, key: 'a.txt', versionId: 'null', etag: old.etag }]),
        bench.deps,
      )

      expect(old.tags['scanned']).to.equal('infected')
      expect(newer.tags).to.deep.equal({})
      expect(bench.published[1]?.json).to.deep.include({ action: 'delete' })
      expect(bench.published[1]?.json['object']).to.include({ versionId: 'null', etag: old.etag })
    })

    it('scans what has taken its place instead, and puts no tag of the old bytes on it', async () => {
      bench.store.versioning = 'suspended'
      const old = put('old')
      bench.engine.judge = () => {
        put(`new ${marker}`, { mine: 'x' })
        return { status: 'clean' }
      }

      await scan({ ...old, versionId: 'null' })

      const current = bench.store.all.at(-1)
      expect(current?.tags).to.deep.equal({ mine: 'x' })
      const job = bench.published.find((one) => one.routingKey === 's3minioqueue')
      expect(job?.json['objects']).to.deep.equal([{ bucket, key: 'a.txt', versionId: 'null' }])
    })

    it('still counts the verdict from before the bucket was versioned', async () => {
      bench.store.versioning = 'off'
      const old = put('old')
      await scan(old)
      bench.store.versioning = 'enabled'
      bench.store.calls.length = 0

      await scanMessage(
        jobMessage('sweep', [{ bucket, key: 'a.txt', versionId: 'null' }]),
        bench.deps,
      )

      expect(bench.store.calls).not.to.include('open')
    })
  })

  describe('for other bytes under the same version, ETag, size and date', () => {
    const later = new Date(1_800_000_500_000)
    /** As MinIO lets an uploader do it: the tags, and with them the proof, come along. */
    const forge = (version: StoredVersion, content: string) => {
      version.bytes = Buffer.from(content)
      bench.store.now = later.getTime() + 5
    }
    const [harmless, virus] = [`x${' '.repeat(marker.length)}`, `x${marker}`]

    it('an event judges them, whatever is proven', async () => {
      const version = put(harmless)
      await scan(version)
      forge(version, virus)

      await scan({ ...version, lastModified: later })

      expect(version.tags['scanned']).to.equal('infected')
    })

    it('a verify job of the audit log, or of the spool lane, judges them', async () => {
      const version = put(harmless)
      await scan(version)
      forge(version, virus)

      await scanMessage(jobMessage('verify', [version], { after: later }), bench.deps)

      expect(version.tags['scanned']).to.equal('infected')
    })

    it('where the proof is a record, too', async () => {
      const own = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`t${index}`, 'x']))
      const version = put(harmless, own)
      await scan(version)
      expect(bench.store.records.size).to.equal(1)
      forge(version, virus)

      await scan({ ...version, lastModified: later })

      expect(bench.published.map(({ routingKey }) => routingKey)).to.include(
        `verdict.infected.${bucket}`,
      )
    })

    it('a clean verdict may take the place of the infected one of the bytes before', async () => {
      const version = put(virus)
      await scan(version)
      forge(version, harmless)

      await scan({ ...version, lastModified: later })

      expect(version.tags['scanned']).to.equal('clean')
    })

    it('an event from the future proves nothing about what comes until then', async () => {
      const version = put(harmless)
      const forged = { ...version, lastModified: new Date(later.getTime() + 1) }
      await scan(forged)
      forge(version, virus)

      await scan({ ...version, lastModified: later })

      expect(version.tags['scanned']).to.equal('infected')
    })

    for (const own of [{}, { project: 'x' }])
      it(`a slow scan of the bytes before takes no newer verdict's place, beside ${Object.keys(own).length} tags`, async () => {
        const version = put(harmless, own)
        bench.engine.judge = () => {
          // Others find the virus meanwhile.
          const facts = { ...version, bucket, size: version.bytes.length, verdict: 'infected' }
          const times = { judgedAt: later, firstJudgedAt: later }
          const proof = { reason: 0, signatureVersion: '27800', ...times, event: '', content: 'x' }
          const tag = writeProof(facts, proof, proofKey)
          version.tags = { ...own, scanned: 'infected', 'scanned-proof': tag }
          return { status: 'clean' }
        }

        expect(await rejection(scan(version))).to.be.instanceOf(RetryLaterError)
        expect(version.tags).to.include({ ...own, scanned: 'infected' })
        expect(bench.published).to.deep.equal([])
      })

    it('keeps what the application tags while it is scanned', async () => {
      const version = put(harmless)
      bench.engine.judge = () => {
        version.tags = { project: 'x' }
        return { status: 'clean' }
      }

      await scan(version)

      expect(version.tags).to.include({ project: 'x', scanned: 'clean' })
    })

    it('an event that came twice is still needless, and so is one from before the proof', async () => {
      const version = put(harmless)
      await scan(version)
      bench.store.calls.length = 0

      await scan(version)
      await scan({ ...version, lastModified: new Date(0) })

      expect(bench.store.calls.filter((call) => call === 'setTags')).to.deep.equal([])
    })

    it('an event without a time is never needless', async () => {
      const version = put(harmless)
      await scan(version)

      await scanMessage(eventMessage({ ...version, lastModified: undefined }), bench.deps)

      expect(bench.published).to.have.length(2)
    })

    it('a re-scan keeps the time of the first judgement', async () => {
      const version = put(harmless)
      await scan(version)
      const first = isProven(version)?.judgedAt
      bench.store.now = later.getTime()

      await scanMessage(jobMessage('manual', [version]), bench.deps)

      expect(isProven(version)?.judgedAt).to.deep.equal(new Date(later.getTime() - 1))
      expect(isProven(version)?.firstJudgedAt).to.deep.equal(first)
    })
  })

  it('takes no job in our own words from where only the store may speak', async () => {
    const version = put(`x${marker}`)
    const forged = jobMessage('rescan', [version], { previous: 'infected' })

    const error = await rejection(scanMessage({ ...forged, fromStore: true }, bench.deps))

    expect(error).to.be.instanceOf(DiscardError)
    expect(bench.published).to.deep.equal([])
  })

  describe('for verify, sweep and re-scan jobs', () => {
    const newer = {
      info: { engineVersion: '1', signatureVersion: '27801', signatureSet: 'official' },
    }

    it('is done without a download when the verdict is proven', async () => {
      const version = put('hello')
      await scan(version)
      bench.store.calls.length = 0

      for (const kind of ['verify', 'sweep'])
        await scanMessage(jobMessage(kind, [version]), bench.deps)

      expect(bench.store.calls).to.not.include('open')
      expect(bench.published).to.have.length(1)
    })

    it('does the work again on a redelivery: judged is not told', async () => {
      const version = put('hello')
      await scan(version)

      await scanMessage(jobMessage('verify', [version], { deliveries: 1 }), bench.deps)
      await scanMessage(jobMessage('verify', [version], { attempt: 2 }), bench.deps)

      expect(bench.published).to.have.length(3)
    })

    it('scans an object whose verdict tag was made by somebody else', async () => {
      const version = put(marker, { scanned: 'clean' })

      await scanMessage(jobMessage('verify', [version]), bench.deps)

      expect(version.tags['scanned']).to.equal('infected')
    })

    // Its worker may have died before it told anybody; deleted without, the redelivered job would find nothing to tell of.
    for (const kind of ['event', 'verify', 'sweep'])
      it(`tells the verdict again before the deletion when a proven infected version is still there, by ${kind}`, async () => {
        const version = put(marker)
        await scan(version)
        const [first] = bench.published.splice(0)

        await scanMessage(
          kind === 'event' ? eventMessage(version) : jobMessage(kind, [version]),
          bench.deps,
        )

        expect(routes()).to.deep.equal(['verdict.infected.storagebucket', 's3minioqueue.actions'])
        expect(bench.published[0]?.messageId).to.equal(first?.messageId)
      })

    it('leaves alone what is infected and held by the store, until it is held no more', async () => {
      const version = put(marker)
      await scan(version)
      bench.published.length = 0
      const { store } = bench
      const held = {
        ...store,
        head: async (object: Parameters<typeof store.head>[0]) => ({
          ...(await store.head(object)),
          held: true,
        }),
      }

      for (const kind of ['verify', 'sweep'] as const)
        await scanMessage(jobMessage(kind, [version]), { ...bench.deps, store: held })
      expect(routes()).to.deep.equal([])
      await scanMessage(jobMessage('sweep', [version]), bench.deps)

      expect(routes()).to.deep.equal(['verdict.infected.storagebucket', 's3minioqueue.actions'])
    })

    it('leaves the deletion of what is infected already to its own job when it re-scans', async () => {
      const version = put(marker)
      await scan(version)
      bench.published.length = 0
      Object.assign(bench.engine, newer)

      await scanMessage(
        jobMessage('rescan', [version], { id: '27801', previous: 'infected' }),
        bench.deps,
      )

      expect(bench.published).to.have.length(0)
    })

    it('re-scans only what newer signatures have not seen', async () => {
      const version = put('hello')
      await scan(version)

      await scanMessage(jobMessage('rescan', [version], { id: '27800' }), bench.deps)
      const before = bench.published.length
      Object.assign(bench.engine, {
        info: { engineVersion: '1', signatureVersion: '27801', signatureSet: 'official' },
      })
      await scanMessage(jobMessage('rescan', [version], { id: '27801' }), bench.deps)

      expect(before).to.equal(1)
      expect(bench.published).to.have.length(2)
      expect(bench.published[0]?.messageId).to.not.equal(bench.published[1]?.messageId)
    })

    it('tells what newer signatures find in an object that was clean, and says so', async () => {
      const version = put(marker)
      const { judge } = bench.engine
      bench.engine.judge = () => ({ status: 'clean' })
      await scan(version)
      bench.published.length = 0
      bench.engine.judge = judge
      Object.assign(bench.engine, newer)

      await scanMessage(
        jobMessage('rescan', [version], { id: '27801', previous: 'clean' }),
        bench.deps,
      )

      expect(routes()).to.deep.equal(['verdict.infected.storagebucket', 's3minioqueue.actions'])
      expect(bench.published[0]?.json).to.have.nested.property(
        'data.scanResultDetails.previous',
        'clean',
      )
    })

    it('tells it again when the worker of the re-scan died after tagging', async () => {
      const version = put(marker)
      Object.assign(bench.engine, newer)
      const about = { id: '27801', previous: 'clean' }
      await scanMessage(jobMessage('rescan', [version], about), bench.deps)

      await scanMessage(jobMessage('rescan', [version], { ...about, deliveries: 1 }), bench.deps)

      const told = bench.published.filter(({ routingKey }) => routingKey.startsWith('verdict.'))
      expect(told).to.have.length(2)
      expect(told[0]?.messageId).to.equal(told[1]?.messageId)
    })

    it('goes by the signatures that the job names, for its own engine may have been idle since they came', async () => {
      const version = put('hello')
      await scan(version)
      bench.engine.onOpen = () => void Object.assign(bench.engine, newer)

      await scanMessage(jobMessage('rescan', [version], { id: '27801' }), bench.deps)

      expect(isProven(version)).to.deep.include({ reason: 0, signatureVersion: '27801' })
    })

    it('tries later what an engine with older signatures still calls clean', async () => {
      const version = put('hello')
      await scan(version)

      const error = await rejection(
        scanMessage(jobMessage('rescan', [version], { id: '27801' }), bench.deps),
      )

      expect(error).to.be.an.instanceOf(RetryLaterError)
      expect(isProven(version)).to.deep.include({ reason: 0, signatureVersion: '27800' })
    })

    it('is silent when newer signatures find the same, and proves it under them', async () => {
      const version = put('hello')
      await scan(version)
      bench.published.length = 0
      Object.assign(bench.engine, newer)

      await scanMessage(
        jobMessage('rescan', [version], { id: '27801', previous: 'clean' }),
        bench.deps,
      )

      expect(bench.published).to.have.length(0)
      expect(isProven(version)).to.deep.include({ reason: 0, signatureVersion: '27801' })
    })

    it('tries again by a sweep what was given up, and leaves it alone by a verify job', async () => {
      const version = put('hello')
      await giveUpMessage(eventMessage(version), new Error('x'), bench.deps)

      await scanMessage(jobMessage('verify', [version]), bench.deps)
      const afterVerify = version.tags['scanned']
      await scanMessage(jobMessage('sweep', [version]), bench.deps)

      expect(afterVerify).to.equal('no')
      expect(version.tags['scanned']).to.equal('clean')
    })
  })

  it('takes a version for gone only when it is gone twice: a store that moves versions about hides them for a moment', async () => {
    const version = put('hello')
    let looks = 0
    bench.store.before = (call) => {
      if (call === 'open' && looks++ === 0) throw new ObjectGoneError('moving')
    }

    await scan(version)

    expect(version.tags['scanned']).to.equal('clean')
  })

  it('tags a version that its store hides for a moment while it deletes another one', async () => {
    const version = put('hello')
    let tries = 0
    bench.store.before = (call) => {
      if (call === 'setTags' && tries++ === 0) throw new ObjectGoneError('moving')
    }

    await scan(version)

    expect(version.tags['scanned']).to.equal('clean')
    expect(routes()).to.deep.equal(['verdict.clean.storagebucket'])
  })

  it('lists again when the version of an event is not there: the store may be moving it', async () => {
    const version = put('hello')
    put('newer')
    let lists = 0
    const listing = bench.store.versions.bind(bench.store)
    bench.store.versions = async function* (where, prefix) {
      if (lists++ > 0) yield* listing(where, prefix)
    }

    await scanMessage(eventMessage({ key: 'a.txt', etag: version.etag }), bench.deps)

    expect(version.tags['scanned']).to.equal('clean')
  })

  describe('of an event', () => {
    it('is done without reading the body when the verdict is proven already', async () => {
      const version = put('hello')
      await scanMessage(jobMessage('verify', [version]), bench.deps)
      const scans = bench.engine.scanned.length

      await scan(version)

      expect(bench.engine.scanned).to.have.length(scans)
      expect(bench.published).to.have.length(1)
    })

    it('scans what only claims to be clean', async () => {
      const version = put(marker, {
        scanned: 'clean',
        'scanned-proof': '2.0.1.20261121T040002345Z.20261121T040002345Z...AAAAAAAAAAAAAAAAAAAAAA',
      })

      await scan(version)

      expect(version.tags['scanned']).to.equal('infected')
    })

    it('does the work again when it was delivered before: its worker may have died before it told', async () => {
      const version = put('hello')
      await scan(version)

      await scan(version, { deliveries: 1 })

      expect(bench.published).to.have.length(2)
    })

    it('does the work again after an outage, which may have come between tag and verdict', async () => {
      const version = put('hello')
      bench.beforePublish = () => {
        throw new PublishError('the broker did not confirm')
      }
      await rejection(scan(version))
      bench.beforePublish = () => {}

      await scan(version, { again: true })

      expect(routes()).to.deep.equal(['verdict.clean.storagebucket'])
    })
  })

  describe('giveUpMessage', () => {
    it('tags no and tells that there is no verdict', async () => {
      const version = put('hello')

      await giveUpMessage(
        eventMessage(version, { attempt: 5 }),
        new Error('clamd says nonsense'),
        bench.deps,
      )

      expect(version.tags['scanned']).to.equal('no')
      expect(routes()).to.deep.equal(['verdict.failed.storagebucket'])
      expect(bench.published[0]?.json).to.have.nested.property(
        'data.scanResultDetails.detail',
        'clamd says nonsense',
      )
    })

    it('leaves a proven verdict as it is', async () => {
      const version = put(marker)
      await scan(version)

      await giveUpMessage(eventMessage(version), new Error('x'), bench.deps)

      expect(version.tags['scanned']).to.equal('infected')
    })

    it('replaces a clean tag that nobody of us has written', async () => {
      const version = put(marker, { scanned: 'clean' })

      await giveUpMessage(eventMessage(version), new Error('x'), bench.deps)

      expect(version.tags['scanned']).to.equal('no')
    })

    it('tells it from a listing where the store answers nothing else, and without a tag', async () => {
      const version = put('hello')
      bench.store.before = (call) => {
        if (call !== 'listed') throw new Error('headers too large')
      }

      await giveUpMessage(eventMessage(version), new Error('cannot be read'), bench.deps)

      expect(routes()).to.deep.equal(['verdict.failed.storagebucket'])
      expect(bench.published[0]?.json).to.have.nested.property(
        'data.s3ObjectDetails.objectKey',
        version.key,
      )
    })

    it('is silent about an object that is gone', async () => {
      await giveUpMessage(eventMessage({ key: 'gone', versionId: 'v' }), new Error('x'), bench.deps)

      expect(bench.published).to.deep.equal([])
    })
  })
})
