// The real worker while its real clamd is killed, hangs, judges by a wrong set or by another one: each way of engine.outage.
import { expect } from 'chai'
import { eventually } from '../support/eventually.ts'
import { noClamd, startClamd, type RealClamd } from '../support/real-clamd.ts'
import { samples } from '../support/samples.ts'
import { testSignatureSet } from '../support/signature-set.ts'
import { noTlsRabbitmq } from '../support/tls-rabbitmq.ts'
import { workerBench, type WorkerBench } from '../support/worker-bench.ts'

const slow = { timeoutMs: 40_000 }
const quick = {
  ENGINE_BREAKER_OPEN_MS: '700',
  ENGINE_STALL_MS: '700',
  CANARY_INTERVAL_MS: '400',
}

describe('the worker and its engine', function () {
  this.timeout(120_000)
  let bench: WorkerBench
  let clamd: RealClamd
  let counter = 0

  before(async function () {
    const why = noTlsRabbitmq ?? noClamd
    if (why !== undefined) {
      console.log(`      skipped: ${why}`)
      this.skip()
    }
    bench = await workerBench()
    clamd = bench.clamd
  })
  after(() => bench?.close())

  const put = (bytes: Buffer) => bench.uploader.put(`object-${++counter}`, bytes)
  const tagOf = async (object: Parameters<typeof bench.uploader.awaitTag>[0]) =>
    (await bench.uploader.awaitTag(object))['scanned']
  const notReady = () =>
    eventually(async () => {
      const { status, reasons } = await bench.ready()
      expect(status).to.equal(503)
      return reasons.join()
    }, slow)
  const isReady = () => eventually(async () => (await bench.ready()).status === 200, slow)
  const opened = () =>
    eventually(
      async () => (await bench.metric(/^avscan_engine_breaker_state\{engine="clamd"/)) === 2,
      slow,
    )
  const lines = () => [
    bench.logged('the engine cannot be used'),
    bench.logged('the engine works again'),
    bench.logged('paused until it works again'),
  ]

  const judges = async (key: string) => {
    const { scan } = (await bench.verdict(key)).body.data
    return [scan?.engines.map(({ name }) => name), scan?.signatureVersion]
  }

  describe('fail-closed', () => {
    it('killed while idle: not ready, the breaker open, one line at each end, no attempt burnt', async () => {
      await bench.begin({ ...quick, LOG_LEVEL: 'info' })
      await clamd.kill()
      const reasons = await notReady()
      await opened()
      const object = await put(samples.clean())

      await clamd.start()

      expect(await tagOf(object)).to.equal('clean')
      await isReady()
      expect(reasons).to.match(/ENOENT|ECONNREFUSED|closed/)
      expect(lines()).to.deep.equal([1, 1, 0])
      expect((await bench.verdict(object.key)).body.data).to.have.property('attempt', 1)
      expect(await bench.metric(/^avscan_engine_failures_total/)).to.be.greaterThan(0)
      expect(await bench.deadLetters()).to.equal(0)
    })

    it('hung: noticed within twice the stall, and what waited is judged when it goes on', async () => {
      await bench.begin(quick)
      clamd.process.kill('SIGSTOP')
      const begun = performance.now()
      const objects = [await put(samples.eicar()), await put(samples.clean())] as const
      await notReady()
      const noticedMs = performance.now() - begun

      clamd.process.kill('SIGCONT')

      await bench.uploader.awaitDeleted(objects[0])
      expect(await tagOf(objects[1])).to.equal('clean')
      await isReady()
      // Twice the stall, a canary's interval, and a busy machine.
      expect(noticedMs).to.be.lessThan(6_000)
      expect(await bench.deadLetters()).to.equal(0)
    })

    it('a set without EICAR: nothing is consumed from the next canary on, until it is mended', async () => {
      await bench.begin(quick)
      await testSignatureSet(clamd.databaseDirectory, {
        version: 1,
        signatures: { Other: Buffer.from('nothing like it at all') },
      })
      await clamd.reload()
      const reasons = await notReady()
      const canary = await bench.metric(/^avscan_engine_canary_up/)
      const object = await put(samples.eicar())

      await testSignatureSet(clamd.databaseDirectory, { version: 2 })
      await clamd.reload()

      await bench.uploader.awaitDeleted(object)
      await isReady()
      expect(reasons).to.include('calls the EICAR test file clean')
      expect(canary).to.equal(0)
      expect(await bench.metric(/^avscan_engine_canary_up/)).to.equal(1)
      expect(lines()).to.deep.equal([1, 1, 0])
    })
  })

  it('another signature version is told once, under an id that the version gives', async () => {
    await testSignatureSet(clamd.databaseDirectory, { version: 27_801 })
    await clamd.reload()
    await bench.begin(quick)
    const news = () => bench.told.filter(({ routingKey }) => routingKey === 'signatures.updated')
    const versions = () => news().map(({ body }) => body.data.signatureVersion)
    await eventually(() => versions().at(-1) === '27801', slow)

    await testSignatureSet(clamd.databaseDirectory, { version: 27_802 })
    await clamd.reload()
    await eventually(() => versions().at(-1) === '27802', slow)
    const before = news()
    await bench.begin(quick)
    await eventually(() => versions().at(-1) === '27802', slow)

    expect(before.map(({ messageId }) => messageId)).to.have.length(new Set(versions()).size + 1)
    expect(news()[0]?.messageId).to.equal(before.at(-1)?.messageId)
    expect(await bench.metric(/^avscan_signatures_info.*signature_version="27802"/)).to.equal(1)
  })

  describe('fallback', () => {
    let second: RealClamd
    before(async () => {
      second = await startClamd({ maxObjectBytes: 8_000_000 })
      await testSignatureSet(second.databaseDirectory, { version: 7 })
      await second.reload()
      await testSignatureSet(clamd.databaseDirectory, { version: 100 })
      await clamd.reload()
    })
    after(() => second?.close())

    for (const [title, stop, goOn] of [
      ['killed', () => clamd.kill(), () => clamd.start()],
      [
        'hung',
        () => Promise.resolve(clamd.process.kill('SIGSTOP')),
        () => Promise.resolve(clamd.process.kill('SIGCONT')),
      ],
    ] as const)
      it(`${title}: the other engine judges and says so, and the first one again when it is back`, async () => {
        const env = { ENGINE_OUTAGE: 'fallback', FALLBACK_ENGINE: 'clamd' }
        await bench.begin({ ...quick, ...env, FALLBACK_CLAMD_SOCKET: second.socket })
        const before = await put(samples.clean())
        const first = await judges(before.key)
        await stop()
        await opened()

        const during = await put(samples.clean())
        const other = await judges(during.key)
        const status = await bench.ready()
        await goOn()
        await eventually(() => bench.logged('the engine works again') === 1, slow)
        const after = await put(samples.clean())

        expect(first).to.deep.equal([['clamd'], '100'])
        expect(other).to.deep.equal([['clamd-fallback'], '7'])
        expect(status.status).to.equal(200)
        expect(await judges(after.key)).to.deep.equal([['clamd'], '100'])
        expect(await bench.deadLetters()).to.equal(0)
      })
  })

  describe('pass-unscanned', () => {
    for (const [title, stop, goOn] of [
      ['killed', () => clamd.kill(), () => clamd.start()],
      [
        'hung',
        () => Promise.resolve(clamd.process.kill('SIGSTOP')),
        () => Promise.resolve(clamd.process.kill('SIGCONT')),
      ],
    ] as const)
      it(`${title}: new objects pass, tagged unscanned, and a sweep for them is asked for in the end`, async () => {
        await bench.begin({ ...quick, ENGINE_OUTAGE: 'pass-unscanned' })
        const infected = await put(samples.eicar())
        await bench.uploader.awaitDeleted(infected)
        await stop()
        await opened()

        const object = await put(samples.eicar())
        const tag = await tagOf(object)
        const verdict = await bench.verdict(object.key)
        await goOn()
        const sweep = await eventually(() => {
          const found = bench.told.find(({ body }) => body.type === 'sweep.requested')
          if (found === undefined) throw new Error('no sweep was asked for')
          return found
        }, slow)

        expect(tag).to.equal('unscanned')
        expect(verdict.routingKey).to.equal('verdict.skipped.storagebucket')
        expect(verdict.body.data.scanResultDetails?.detail).to.include('let pass as unscanned')
        expect(Date.parse(sweep.body.data.since ?? '')).to.be.lessThan(Date.now() - 55_000)
        expect(await bench.deadLetters()).to.equal(0)
        const next = await put(samples.eicar())
        await bench.uploader.awaitDeleted(next)
      })

    it('passes objects too when it starts while the engine is away', async () => {
      await clamd.kill()
      await bench.begin({ ...quick, ENGINE_OUTAGE: 'pass-unscanned' }, 'anyhow')
      const object = await put(samples.clean())

      expect(await tagOf(object)).to.equal('unscanned')
      await clamd.start()
    })
  })
})
