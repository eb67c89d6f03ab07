import { expect } from 'chai'
import { randomBytes } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { createClamd, type ClamdOptions } from '../../../../services/avscan/engines/clamd.ts'
import { reservedPlaces, type Engine } from '../../../../services/avscan/engines/engine.ts'
import {
  EngineUnavailableError,
  OutageError,
  RetryLaterError,
} from '../../../../services/shared/errors.ts'
import { silentLog } from '../../../../services/shared/log.ts'
import { contractLimits, engineContract, scan } from '../../../support/engine-contract.ts'
import { eventually } from '../../../support/eventually.ts'
import { startFakeClamd, type FakeClamd } from '../../../support/fake-clamd.ts'
import { hostileReplies } from '../../../support/hostile-replies.ts'
import { rejection } from '../../../support/rejection.ts'
import { samples } from '../../../support/samples.ts'

const never = () => new AbortController().signal
const both = () => Promise.resolve(['127.0.0.1', '127.0.0.2'])
const unknown = () =>
  Promise.reject(Object.assign(new Error('getaddrinfo ENOTFOUND clamd'), { code: 'ENOTFOUND' }))

describe('clamd, fake', () => {
  let fake: FakeClamd
  let engine: Engine
  const engines: Engine[] = []

  function connect(options: Partial<ClamdOptions> = {}): Engine {
    const made = createClamd(
      {
        socket: '',
        host: '127.0.0.1',
        port: fake.port,
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

  for (const transport of ['TCP', 'a unix socket'] as const)
    describe(`keeps the engine contract over ${transport}`, () => {
      engineContract(async () => {
        fake = await startFakeClamd({ maxScanBytes: contractLimits.maxScanBytes })
        const mine = fake
        const subject = connect(transport === 'TCP' ? {} : { socket: fake.socket })
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
    beforeEach(async () => {
      fake = await startFakeClamd()
      engine = connect()
    })
    afterEach(async () => {
      for (const one of engines.splice(0)) await one.close()
      await fake.close()
    })

    describe('never takes for a finding', () => {
      for (const hostility of hostileReplies)
        it(hostility.title, async () => {
          engine = connect({ timeoutMs: 200 })
          const size = hostility.at === 'complete' ? 300_000 : 8_000_000
          const stream = await engine.open(size, never())
          fake.arm(hostility)
          const finding = (async () => {
            await stream.write(Buffer.alloc(300_000))
            // An early reply has to stop the sending, not wait for its end.
            for (let sent = 300_000; sent < size; sent += 1_000) {
              await stream.write(Buffer.alloc(Math.min(1_000, size - sent)))
              await turn()
            }
            if (hostility.at !== 'complete') throw new Error('was sent to the end')
            return stream.end()
          })()

          const error = await rejection(finding)

          expect(error.message).not.to.equal('was sent to the end')
          expect(error).not.to.be.instanceOf(EngineUnavailableError)
          if (hostility.outcome === 'outage') expect(error).to.be.instanceOf(OutageError)
          else expect(error).not.to.be.instanceOf(OutageError)
          expect(await scan(engine, samples.eicar())).to.have.property('status', 'infected')
        })
    })

    for (const [size, transport] of [
      [10_000, 'TCP'],
      [10_000, 'a unix socket'],
      [256 * 1024, 'TCP'],
      [256 * 1024, 'a unix socket'],
    ] as const)
      it(`has sent a chunk of ${size} bytes over ${transport} before its buffer is used again`, async () => {
        engine = connect(transport === 'TCP' ? {} : { socket: fake.socket })
        const bytes = randomBytes(5_000_000)
        const stream = await engine.open(bytes.length, never())
        let judged: Buffer | undefined
        fake.judge = (seen) => {
          judged = seen
          return undefined
        }
        const buffers = [Buffer.alloc(size), Buffer.alloc(size)]

        for (let [at, turn] = [0, 0]; at < bytes.length; turn = 1 - turn) {
          const buffer = buffers[turn] as Buffer
          const length = bytes.copy(buffer, 0, at)
          await stream.write(buffer.subarray(0, length))
          at += length
        }
        await stream.end()

        expect(judged?.equals(bytes)).to.equal(true)
      })

    describe('turns a signature name into a finding', () => {
      for (const [name, expected] of [
        ['Win.Test.EICAR_HDB-1', { status: 'infected', signature: 'Win.Test.EICAR_HDB-1' }],
        [
          'Heuristics.Phishing.Email.SpoofedDomain',
          { status: 'suspicious', signature: 'Heuristics.Phishing.Email.SpoofedDomain' },
        ],
        ['Heuristics.Limits.Exceeded.MaxFileSize', { status: 'unscannable', reason: 101 }],
      ] as const)
        it(name, async () => {
          const stream = await engine.open(3, never())
          fake.arm({ title: name, at: 'complete', reply: (id) => `${id}: stream: ${name} FOUND\0` })
          await stream.write(Buffer.from('abc'))

          expect(await stream.end()).to.include(expected)
        })
    })

    describe('what is sent', () => {
      it('cuts a chunk into frames of at most 256 KiB, in order, and sends nothing else', async () => {
        const bytes = samples.large(1_000_000)
        const stream = await engine.open(bytes.length, never())
        let received = Buffer.alloc(0)
        fake.judge = (seen) => {
          received = Buffer.from(seen)
          return undefined
        }
        fake.seen.frames.length = 0
        await stream.write(bytes)
        await stream.end()

        expect(received.equals(bytes)).to.equal(true)
        expect(fake.seen.frames).to.deep.equal([262_144, 262_144, 262_144, 213_568])
      })

      it('sends the last chunk, and so a small object, only together with its end', async () => {
        const stream = await engine.open(100, never())
        const before = fake.seen.commands.length
        await stream.write(Buffer.alloc(100))
        expect(fake.seen.commands).to.have.length(before)
        await stream.end()

        expect(fake.seen.commands[before]).to.equal('zINSTREAM')
      })

      it('never completes an object that was aborted', async () => {
        const stream = await engine.open(1_000_000, never())
        const before = fake.seen.complete
        await stream.write(Buffer.alloc(900_000))
        stream.abort(new Error('enough'))
        await eventually(() => fake.seen.open === 0)

        expect(fake.seen.complete).to.equal(before)
      })

      it('keeps the session alive with PING while a scan runs', async () => {
        engine = connect({ keepAliveMs: 20 })
        const stream = await engine.open(3, never())
        fake.arm({ title: 'late', at: 'complete', reply: () => '' })
        await stream.write(Buffer.from('abc'))
        const finding = rejection(stream.end())
        await eventually(() => fake.seen.commands.filter((one) => one === 'zPING').length >= 3)
        stream.abort(new Error('seen enough'))

        expect(await finding).to.have.property('message', 'seen enough')
      })
    })

    describe('waiting', () => {
      it('gives up when clamd takes no bytes', async () => {
        engine = connect({ stallMs: 100 })
        const stream = await engine.open(30_000_000, never())
        fake.freeze()

        expect(await rejection(stream.write(Buffer.alloc(30_000_000)))).to.include({
          name: 'ClamdError',
          kind: 'stall',
        })
      })

      it('gives up when no finding comes', async () => {
        engine = connect({ timeoutMs: 100 })
        const stream = await engine.open(3, never())
        await stream.write(Buffer.from('abc'))
        fake.freeze()

        expect(await rejection(stream.end())).to.include({ name: 'ClamdError', kind: 'timeout' })
      })

      it('calls an object unscannable that takes too long, and leaves the address alone, while PING is answered', async () => {
        engine = connect({ timeoutMs: 300, stallMs: 5_000, keepAliveMs: 20 })
        const stream = await engine.open(3, never())
        fake.arm({ title: 'no finding', at: 'complete', reply: () => '' })
        await stream.write(Buffer.from('abc'))
        expect(await stream.end()).to.deep.equal({
          status: 'unscannable',
          reason: 199,
          detail: 'no finding within 300 ms',
        })
        expect(engine.addresses.map(({ breaker }) => breaker)).to.deep.equal(['closed'])
        expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
      })

      it('gives up long before that when PING is not answered either: clamd hangs', async () => {
        engine = connect({ timeoutMs: 60_000, stallMs: 150, keepAliveMs: 20 })
        const stream = await engine.open(3, never())
        await stream.write(Buffer.from('abc'))
        fake.freeze()

        const error = await rejection(stream.end())

        expect(error).to.include({ name: 'ClamdError', kind: 'timeout' })
        expect(error.message).to.equal('no answer to PING within 150 ms')
      })
    })

    describe('sessions', () => {
      it('are used again', async () => {
        for (let index = 0; index < 5; index++) await scan(engine, samples.clean())

        expect(fake.seen.connections).to.equal(1)
      })

      it('are never more than the connections allowed and the reserved ones', async () => {
        await Promise.all(Array.from({ length: 10 }, () => scan(engine, samples.clean())))

        expect(fake.seen.connections).to.equal(contractLimits.connections + reservedPlaces)
      })

      it('are reopened when they were idle for long', async () => {
        engine = connect({ idleMs: 30 })
        await scan(engine, samples.clean())
        await eventually(() => fake.seen.open === 0)

        expect(fake.seen.commands.at(-1)).to.equal('zEND')
        expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
        expect(fake.seen.connections).to.equal(2)
      })

      it('that clamd closed in the meantime cost no attempt', async () => {
        engine = connect({ lookMs: 0 })
        await scan(engine, samples.clean())
        await fake.kill()
        await fake.start()

        expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
      })

      it('are given back once, whatever is called afterwards', async () => {
        for (let index = 0; index < 5; index++) {
          const stream = await engine.open(1_000_000, never())
          stream.abort(new Error('one'))
          stream.abort(new Error('two'))
          await rejection(stream.end())
          await rejection(stream.write(Buffer.alloc(1)))
        }

        expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
      })

      it('are all cut by close', async () => {
        const stream = await engine.open(10, never())
        await engine.close()
        await eventually(() => fake.seen.open === 0)

        expect(await rejection(stream.end())).to.have.property('message', 'the engine was closed')
      })
    })
  })
})

describe('clamd, trust and addresses', () => {
  let fake: FakeClamd
  const closers: (() => Promise<void>)[] = []

  function connect(options: Partial<ClamdOptions> = {}): Engine {
    const made = createClamd(
      {
        socket: '',
        host: '127.0.0.1',
        port: fake.port,
        connections: 2,
        maxBytes: 1e7,
        timeoutMs: 2_000,
        stallMs: 2_000,
        ...options,
      },
      silentLog,
    )
    closers.push(() => made.close())
    return made
  }

  beforeEach(async () => {
    fake = await startFakeClamd()
    closers.push(() => fake.close())
  })
  afterEach(async () => {
    for (const close of closers.splice(0)) await close()
  })

  describe('the canary', () => {
    it('keeps objects away from a clamd that calls everything clean', async () => {
      fake.judge = () => undefined
      const error = await rejection(connect().open(10, never()))

      expect(error).to.be.instanceOf(EngineUnavailableError)
      expect(error.message).to.match(
        /calls the EICAR test file clean: its signatures are missing or the wrong ones/,
      )
    })

    it('keeps objects away from a clamd that finds something everywhere', async () => {
      fake.judge = () => 'Everything.Is.Bad'
      const error = await rejection(connect().probe(never()))

      expect(error).to.be.instanceOf(EngineUnavailableError)
      expect(error.message).to.match(/calls a harmless text infected \(Everything\.Is\.Bad\)/)
    })

    it('runs again on an open session for a set whose VERSION never changes', async () => {
      fake.version = 'ClamAV 1.4.6'
      const engine = connect({ canaryMs: 0 })
      await scan(engine, samples.clean())
      fake.judge = () => undefined

      expect(await rejection(engine.open(3, never()))).to.be.instanceOf(EngineUnavailableError)
    })

    it('is asked again before a long scan counts', async () => {
      const engine = connect({ canaryMs: 50 })
      const stream = await engine.open(3, never())
      await stream.write(Buffer.from('abc'))
      await eventually(() => performance.now() - started(stream) > 60)
      fake.judge = () => undefined

      expect(await rejection(stream.end())).to.be.instanceOf(EngineUnavailableError)
    })
  })

  describe('VERSION', () => {
    it('gives the number, the date and the official set', async () => {
      expect(await connect().probe(never())).to.deep.equal({
        engineVersion: '1.4.6',
        signatureVersion: '27800',
        signatureDate: '2026-11-20T09:12:47.000Z',
        signatureSet: 'official',
      })
    })

    it('without a number is a set of our own', async () => {
      fake.version = 'ClamAV 1.4.6'

      expect(await connect().probe(never())).to.deep.equal({
        engineVersion: '1.4.6',
        signatureVersion: '0',
        signatureSet: 'custom',
      })
    })

    it('is overruled by the configured name of the set', async () => {
      expect(await connect({ signatureSet: 'test' }).probe(never())).to.have.property(
        'signatureSet',
        'test',
      )
    })

    for (const version of [
      'ClamAV 1.4.6/4294967295/invalid timestam',
      'COMMAND UNAVAILABLE',
      'Clam',
      '',
      'ClamAV 1.4.6/27800',
    ])
      it(`that says ${JSON.stringify(version)} makes clamd unavailable`, async () => {
        fake.version = version

        expect(await rejection(connect().open(1, never()))).to.be.instanceOf(EngineUnavailableError)
      })

    it('that changed during a scan has the object judged again', async () => {
      const engine = connect()
      const stream = await engine.open(3, never())
      await stream.write(Buffer.from('abc'))
      fake.version = 'ClamAV 1.4.6/27801/Sat Nov 21 09:12:47 2026'

      expect(await rejection(stream.end())).to.be.instanceOf(RetryLaterError)
      expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
      expect(engine.info).to.have.property('signatureVersion', '27801')
    })

    it('that changed to a wrong set during a scan stops everything', async () => {
      const engine = connect()
      const stream = await engine.open(3, never())
      await stream.write(Buffer.from('abc'))
      fake.version = 'ClamAV 1.4.6/1/Sat Nov 21 09:12:47 2026'
      fake.judge = () => undefined

      expect(await rejection(stream.end())).to.be.instanceOf(RetryLaterError)
      expect(await rejection(engine.open(3, never()))).to.be.instanceOf(EngineUnavailableError)
    })

    it('is asked before a scan when the last look is old', async () => {
      const engine = connect({ lookMs: 0 })
      await scan(engine, samples.clean())
      fake.version = 'ClamAV 1.4.6/27801/Sat Nov 21 09:12:47 2026'

      expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
      expect(engine.info).to.have.property('signatureVersion', '27801')
    })
  })

  describe('that cannot be reached', () => {
    it('is unavailable when the connection is refused', async () => {
      await fake.kill()
      const error = await rejection(connect().open(1, never()))

      expect(error).to.be.instanceOf(EngineUnavailableError)
      expect(error.message).to.match(/^connect to clamd at 127\.0\.0\.1:\d+: connect ECONNREFUSED/)
    })

    it('is unavailable when its socket is not there', async () => {
      const error = await rejection(connect({ socket: `${fake.socket}.other` }).open(1, never()))

      expect(error).to.be.instanceOf(EngineUnavailableError)
      expect(error.message).to.match(
        /ENOENT.*the socket appears when clamd has loaded its signatures/,
      )
    })

    it('is unavailable when its name is unknown', async () => {
      const error = await rejection(connect({ host: 'clamd', resolve: unknown }).open(1, never()))

      expect(error).to.be.instanceOf(EngineUnavailableError)
      expect(error.message).to.match(/ENOTFOUND clamd/)
    })
  })

  describe('with several addresses', () => {
    let other: FakeClamd
    beforeEach(async () => {
      other = await startFakeClamd({ host: '127.0.0.2', port: fake.port })
      closers.push(() => other.close())
    })

    it('uses the least busy one', async () => {
      const engine = connect({ host: 'clamd', resolve: both })
      const streams = await Promise.all(Array.from({ length: 4 }, () => engine.open(10, never())))

      expect([fake.seen.open, other.seen.open]).to.deep.equal([2, 2])
      for (const stream of streams) stream.abort(new Error('enough'))
    })

    it('goes on with the rest when one is away', async () => {
      await fake.kill()
      const engine = connect({ host: 'clamd', resolve: both })

      for (let index = 0; index < 4; index++)
        expect(await scan(engine, samples.eicar())).to.have.property('status', 'infected')
      expect(await engine.probe(never())).to.have.property('signatureVersion', '27800')
    })

    it('goes on with the rest when one fails its canary', async () => {
      fake.judge = () => undefined
      const engine = connect({ host: 'clamd', resolve: both })

      for (let index = 0; index < 4; index++)
        expect(await scan(engine, samples.eicar())).to.have.property('status', 'infected')
    })

    it('is unavailable only when all are away', async () => {
      await fake.kill()
      await other.kill()

      expect(
        await rejection(connect({ host: 'clamd', resolve: both }).open(1, never())),
      ).to.be.instanceOf(EngineUnavailableError)
    })
  })
})

const firstSeen = new WeakMap<object, number>()

/** Milliseconds at which a test first asked about `thing`. */
function started(thing: object): number {
  const known = firstSeen.get(thing) ?? performance.now()
  firstSeen.set(thing, known)
  return known
}
