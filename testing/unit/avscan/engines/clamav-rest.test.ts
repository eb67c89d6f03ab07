import { expect } from 'chai'
import { setImmediate as turn } from 'node:timers/promises'
import {
  createClamavRest,
  type ClamavRestOptions,
} from '../../../../services/avscan/engines/clamav-rest.ts'
import type { Engine } from '../../../../services/avscan/engines/engine.ts'
import {
  EngineUnavailableError,
  OutageError,
  RetryLaterError,
} from '../../../../services/shared/errors.ts'
import { silentLog } from '../../../../services/shared/log.ts'
import { contractLimits, engineContract, scan } from '../../../support/engine-contract.ts'
import {
  hostileAnswers,
  startFakeClamavRest,
  type FakeClamavRest,
} from '../../../support/fake-clamav-rest.ts'
import { eventually } from '../../../support/eventually.ts'
import { rejection } from '../../../support/rejection.ts'
import { samples } from '../../../support/samples.ts'
import { testCertificate } from '../../../support/test-certificate.ts'

const never = () => new AbortController().signal

describe('clamav-rest, fake', () => {
  let fake: FakeClamavRest
  let engine: Engine
  const engines: Engine[] = []

  function connect(options: Partial<ClamavRestOptions> = {}): Engine {
    const made = createClamavRest(
      {
        host: '127.0.0.1',
        port: fake.port,
        ca: fake.certificate.certFile,
        connections: contractLimits.connections,
        maxBytes: contractLimits.maxObjectBytes,
        timeoutMs: 5_000,
        stallMs: 5_000,
        ...options,
      },
      silentLog,
    )
    engines.push(made)
    return made
  }

  describe('keeps the engine contract', () => {
    engineContract(async () => {
      fake = await startFakeClamavRest({ maxScanBytes: contractLimits.maxScanBytes })
      const mine = fake
      const subject = connect()
      return {
        engine: subject,
        freeze: () => mine.freeze(),
        kill: () => mine.kill(),
        restart: () => mine.start(),
        close: async () => {
          await subject.close()
          await mine.close()
        },
      }
    })
  })

  describe('on its own', () => {
    before(async () => {
      fake = await startFakeClamavRest()
    })
    beforeEach(() => {
      engine = connect()
    })
    afterEach(async () => {
      for (const one of engines.splice(0)) await one.close()
    })
    after(() => fake.close())

    describe('never takes for a finding', () => {
      for (const hostility of hostileAnswers)
        it(hostility.title, async () => {
          const size = hostility.at === 'complete' ? 300_000 : 8_000_000
          const stream = await engine.open(size, never())
          fake.arm(hostility)
          const finding = (async () => {
            for (let sent = 0; sent < size; sent += 10_000) {
              await stream.write(Buffer.alloc(10_000))
              await turn()
            }
            return stream.end()
          })()

          const error = await rejection(finding)

          expect(error).not.to.be.instanceOf(OutageError)
          expect(await scan(engine, samples.eicar())).to.have.property('status', 'infected')
        })

      it('nothing, when it does not even say its version any more', async () => {
        engine = connect({ timeoutMs: 60_000, keepAliveMs: 20 })
        const stream = await engine.open(3, never())
        await stream.write(Buffer.from('abc'))
        fake.freeze()
        const { version } = fake
        fake.version = { status: 200, body: '{"Op":"dial"}' }

        const error = await rejection(stream.end())

        expect(error.message).to.equal('clamav-rest went silent while it scanned')
        fake.version = version
        await fake.kill()
        await fake.start()
      })

      it('nothing, ever', async () => {
        engine = connect({ timeoutMs: 100 })
        const stream = await engine.open(3, never())
        await stream.write(Buffer.from('abc'))
        fake.freeze()

        expect(await rejection(stream.end())).to.have.property('name', 'ClamavRestError')
        await fake.kill()
        await fake.start()
      })
    })

    describe('what is sent', () => {
      it('is exactly the object, under its exact length', async () => {
        const bytes = samples.large(500_000)
        await scan(engine, bytes)
        const upload = fake.seen.uploads.at(-1)

        expect(upload?.declared).to.equal(upload?.received)
        expect(upload?.body.includes(bytes)).to.equal(true)
      })

      it('is never completed when the object was aborted', async () => {
        const stream = await engine.open(1_000_000, never())
        const before = fake.seen.uploads.length
        await stream.write(Buffer.alloc(999_999))
        stream.abort(new Error('enough'))
        await scan(engine, samples.clean())

        expect(fake.seen.uploads).to.have.length(before + 1)
      })
    })

    describe('TLS', () => {
      it('refuses a server whose CA is unknown', async () => {
        const error = await rejection(connect({ ca: '' }).probe(never()))

        expect(error).to.be.instanceOf(EngineUnavailableError)
        expect(error.message).to.match(/its certificate is signed by nobody we trust/)
      })

      it('refuses a server that is called otherwise', async () => {
        const other = await testCertificate(fake.folder, 'other', 'DNS:clamd-service')
        const original = { ...fake.certificate }
        Object.assign(fake.certificate, other)
        await fake.kill()
        await fake.start()
        const error = await rejection(connect().open(1, never()))
        Object.assign(fake.certificate, original)
        await fake.kill()
        await fake.start()

        expect(error).to.be.instanceOf(EngineUnavailableError)
        expect(error.message).to.match(/another host name/)
      })
    })

    describe('the version', () => {
      const official =
        '{ "Clamav": "1.4.6", "Signature": "27800" , "Signature_date": "Fri Nov 20 09:12:47 2026" }'

      afterEach(() => {
        fake.version = { status: 200, body: official }
      })

      it('gives the number, the date and the official set', async () => {
        expect(await engine.probe(never())).to.deep.equal({
          engineVersion: '1.4.6',
          signatureVersion: '27800',
          signatureDate: '2026-11-20T09:12:47.000Z',
          signatureSet: 'official',
        })
      })

      it('without a number is a set of our own', async () => {
        fake.version.body = '{ "Clamav": "1.4.6" }'

        expect(await engine.probe(never())).to.deep.equal({
          engineVersion: '1.4.6',
          signatureVersion: '0',
          signatureSet: 'custom',
        })
      })

      for (const [status, body] of [
        [200, '{"Op":"dial","Net":"tcp","Source":null,"Addr":{},"Err":{}}'],
        [200, ''],
        [200, 'null'],
        [500, official],
        [404, '404 page not found'],
      ] as const)
        it(`that is ${status} ${JSON.stringify(body.slice(0, 20))} makes it unavailable`, async () => {
          fake.version = { status, body }

          expect(await rejection(engine.open(1, never()))).to.be.instanceOf(EngineUnavailableError)
        })

      it('that changed during a scan has the object judged again', async () => {
        const stream = await engine.open(3, never())
        await stream.write(Buffer.from('abc'))
        fake.version.body = official.replace('27800', '27801')

        expect(await rejection(stream.end())).to.be.instanceOf(RetryLaterError)
        expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
        expect(engine.info).to.have.property('signatureVersion', '27801')
      })
    })

    describe('the canary', () => {
      afterEach(async () => {
        await fake.close()
        fake = await startFakeClamavRest()
      })

      it('keeps objects away from one that calls everything clean', async () => {
        fake.judge = () => undefined
        const error = await rejection(engine.open(3, never()))

        expect(error).to.be.instanceOf(EngineUnavailableError)
        expect(error.message).to.match(/calls the EICAR test file clean/)
      })

      it('keeps objects away from one that finds something everywhere', async () => {
        fake.judge = () => 'Everything.Is.Bad'

        expect(await rejection(engine.probe(never()))).to.be.instanceOf(EngineUnavailableError)
      })

      it('runs again when it is old', async () => {
        engine = connect({ canaryMs: 0 })
        await scan(engine, samples.clean())
        fake.judge = () => undefined

        expect(await rejection(engine.open(3, never()))).to.be.instanceOf(EngineUnavailableError)
      })
    })

    for (const [name, expected] of [
      ['Heuristics.Limits.Exceeded.MaxFiles', { status: 'unscannable', reason: 102 }],
      ['Heuristics.Zip.OverlappingFiles', { status: 'suspicious' }],
      ['Heuristics.W32.Kriz', { status: 'infected' }],
    ] as const)
      it(`turns ${name} into the same finding as clamd's`, async () => {
        const judge = fake.judge
        const stream = await engine.open(3, never())
        fake.judge = () => name
        await stream.write(Buffer.from('abc'))
        const finding = await stream.end()
        fake.judge = judge

        expect(finding).to.include(expected)
      })

    describe('its breaker', () => {
      const breaker = { failures: 2, openMs: 60_000, successes: 2 }

      afterEach(async () => {
        await fake.close()
        fake = await startFakeClamavRest()
      })

      it('opens after so many refusals, and says why and until when', async () => {
        await fake.kill()
        engine = connect({ breaker })
        for (let index = 0; index < 2; index++) await rejection(engine.open(1, never()))
        const error = await rejection(engine.open(1, never()))

        expect(error).to.be.instanceOf(EngineUnavailableError)
        expect(error.message).to.match(
          /^no address of clamav-rest can be used: .*ECONNREFUSED.*left alone until/,
        )
        expect(engine.addresses.map((one) => one.breaker)).to.deep.equal(['open'])
      })

      it('opens at once for a wrong canary', async () => {
        engine = connect({ breaker })
        fake.judge = () => undefined
        await rejection(engine.probe(never()))

        expect(engine.addresses.map((one) => one.breaker)).to.deep.equal(['open'])
      })

      it('is tried again by itself, and closes after enough successes', async () => {
        await fake.kill()
        engine = connect({ breaker: { ...breaker, openMs: 30 } })
        for (let index = 0; index < 2; index++) await rejection(engine.open(1, never()))
        await fake.start()
        await eventually(() => engine.outage === undefined)
        await scan(engine, samples.clean())

        expect(engine.addresses.map((one) => one.breaker)).to.deep.equal(['closed'])
      })

      it('does not count what the caller gives up', async () => {
        engine = connect({ breaker: { ...breaker, failures: 1 } })
        const stream = await engine.open(1_000_000, never())
        stream.abort(new Error('the download broke'))
        await scan(engine, samples.clean())

        expect(engine.addresses.map((one) => one.breaker)).to.deep.equal(['closed'])
      })
    })

    it('gives up when no bytes are taken', async () => {
      engine = connect({ stallMs: 200 })
      const stream = await engine.open(32_000_000, never())
      fake.freeze()
      const writing = (async () => {
        for (let sent = 0; sent < 32; sent++) await stream.write(Buffer.alloc(1_000_000))
      })()

      expect((await rejection(writing)).message).to.match(/took no bytes for 200 ms/)
      await fake.kill()
      await fake.start()
    })
  })
})
