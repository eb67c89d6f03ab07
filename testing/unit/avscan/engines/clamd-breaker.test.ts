// What clamd's failures do to the breakers of its addresses, and what the breakers do to scans.
import { expect } from 'chai'
import { createClamd, type ClamdOptions } from '../../../../services/avscan/engines/clamd.ts'
import type { Engine, EngineEvents } from '../../../../services/avscan/engines/engine.ts'
import { EngineUnavailableError } from '../../../../services/shared/errors.ts'
import { scan } from '../../../support/engine-contract.ts'
import { eventually } from '../../../support/eventually.ts'
import { startFakeClamd, type FakeClamd } from '../../../support/fake-clamd.ts'
import { recordingLog, type RecordingLog } from '../../../support/recording-log.ts'
import { rejection } from '../../../support/rejection.ts'
import { samples } from '../../../support/samples.ts'

const never = () => new AbortController().signal
const both = () => Promise.resolve(['127.0.0.1', '127.0.0.2'])
const states = (engine: Engine) => engine.addresses.map(({ breaker }) => breaker)
const long = { failures: 2, openMs: 60_000, successes: 2 }

describe('clamd and its breakers', () => {
  let fake: FakeClamd
  let log: RecordingLog
  let events: string[]
  const closers: (() => Promise<void>)[] = []

  const connect = (options: Partial<ClamdOptions> = {}): Engine => {
    const told: EngineEvents = {
      failed: () => events.push('failed'),
      down: () => events.push('down'),
      up: () => events.push('up'),
      signatures: () => events.push('signatures'),
    }
    const made = createClamd(
      {
        socket: '',
        host: '127.0.0.1',
        port: fake.port,
        connections: 2,
        maxBytes: 1e7,
        timeoutMs: 2_000,
        stallMs: 2_000,
        breaker: long,
        ...options,
      },
      log,
      told,
    )
    closers.push(() => made.close())
    return made
  }
  /** A scan whose end is answered with `reply`. */
  const scanWith = async (engine: Engine, reply: string, after?: 'reset') => {
    const stream = await engine.open(3, never())
    const text = (id: number) => (reply === '' ? '' : `${id}: stream: ${reply}\0`)
    fake.arm({ title: reply, at: 'complete', reply: text, ...(after ? { after } : {}) })
    await stream.write(Buffer.from('abc'))
    return stream.end()
  }
  const lines = () => log.lines.filter(({ level }) => level !== 'debug').map((one) => one.message)

  beforeEach(async () => {
    log = recordingLog()
    events = []
    fake = await startFakeClamd()
    closers.push(() => fake.close())
  })
  afterEach(async () => {
    for (const close of closers.splice(0).toReversed()) await close()
  })

  it('leaves an address alone after so many refusals, and says which, why and until when', async () => {
    await fake.kill()
    const engine = connect()
    for (let index = 0; index < 2; index++) await rejection(engine.open(1, never()))
    const connections = fake.seen.connections

    const error = await rejection(engine.open(1, never()))

    expect(error).to.be.instanceOf(EngineUnavailableError)
    expect(error.message).to.match(
      /^no address of clamd can be used: 127\.0\.0\.1:\d+ \(connect to clamd at .*ECONNREFUSED.*; left alone until \d{4}-.*Z\)$/,
    )
    expect(engine.outage).to.be.instanceOf(EngineUnavailableError)
    expect(states(engine)).to.deep.equal(['open'])
    expect(fake.seen.connections).to.equal(connections)
  })

  it('lets no probe through while it is open', async () => {
    await fake.kill()
    const engine = connect()
    for (let index = 0; index < 2; index++) await rejection(engine.probe(never()))
    await fake.start()

    expect(await rejection(engine.probe(never()))).to.be.instanceOf(EngineUnavailableError)
  })

  it('tries by itself when the time is over, and trusts it after enough successes', async () => {
    await fake.kill()
    const engine = connect({ breaker: { ...long, openMs: 50 } })
    for (let index = 0; index < 2; index++) await rejection(engine.open(1, never()))
    await fake.start()

    await eventually(() => engine.outage === undefined)
    expect(states(engine)).to.deep.equal(['half-open'])
    expect(await scan(engine, samples.eicar())).to.have.property('status', 'infected')
    expect(states(engine)).to.deep.equal(['closed'])
  })

  it('lets one scan at a time through while it is half-open', async () => {
    await fake.kill()
    const engine = connect({ breaker: { ...long, successes: 3, openMs: 50 } })
    for (let index = 0; index < 2; index++) await rejection(engine.open(1, never()))
    await fake.start()
    await eventually(() => engine.outage === undefined)
    fake.seen.busiest = 0
    const first = await engine.open(3, never())
    const second = engine.open(3, never())
    await first.write(Buffer.from('abc'))
    const opened = fake.seen.open
    await first.end()
    const stream = await second
    stream.abort(new Error('enough'))

    expect(opened).to.equal(1)
  })

  it('opens at once for a wrong canary, and what is being scanned there does not count', async () => {
    const engine = connect({ canaryMs: 60_000 })
    const stream = await engine.open(3, never())
    await stream.write(Buffer.from('abc'))
    fake.judge = () => undefined

    await rejection(engine.probe(never()))

    expect(states(engine)).to.deep.equal(['open'])
    expect(await rejection(stream.end())).to.be.instanceOf(EngineUnavailableError)
    expect(events).to.include('down')
  })

  it('does not count what is the object or the caller', async () => {
    const engine = connect({ breaker: { ...long, failures: 1 } })
    await scanWith(engine, 'Heuristics.Limits.Exceeded.MaxFiles FOUND')
    await rejection(scanWith(engine, 'Can not parse it ERROR'))
    const stream = await engine.open(1_000_000, never())
    stream.abort(new Error('the download broke'))
    const controller = new AbortController()
    const other = await engine.open(1_000_000, controller.signal)
    controller.abort(new Error('shutting down'))
    await rejection(other.end())
    const third = await engine.open(3, never())
    await third.write(Buffer.from('abc'))
    fake.version = 'ClamAV 1.4.6/27801/Sat Nov 21 09:12:47 2026'
    await rejection(third.end())

    expect(states(engine)).to.deep.equal(['closed'])
    expect(events).not.to.include('failed')
  })

  it('counts a connection that is lost in the middle of a scan', async () => {
    const engine = connect()
    for (let index = 0; index < 2; index++) await rejection(scanWith(engine, '', 'reset'))

    expect(states(engine)).to.deep.equal(['open'])
    expect(events).to.deep.equal(['signatures', 'failed', 'failed', 'down'])
  })

  it('forgets failures that a success follows: one object that kills it does not stop the others', async () => {
    const engine = connect()
    for (let index = 0; index < 5; index++) {
      await rejection(scanWith(engine, '', 'reset'))
      expect(await scan(engine, samples.eicar())).to.have.property('status', 'infected')
    }

    expect(states(engine)).to.deep.equal(['closed'])
  })

  it('goes on at the other address, and comes back to the first', async () => {
    const other = await startFakeClamd({ host: '127.0.0.2', port: fake.port })
    closers.push(() => other.close())
    const engine = connect({ host: 'clamd', resolve: both, breaker: { ...long, openMs: 100 } })
    await fake.kill()
    for (let index = 0; index < 3; index++) await engine.probe(never())
    const during = states(engine)
    await scan(engine, samples.clean())
    await fake.start()

    await eventually(async () => {
      await scan(engine, samples.clean())
      return states(engine).every((state) => state === 'closed')
    })
    expect(during).to.have.members(['open', 'closed'])
    expect(lines()).to.deep.equal([])
  })

  it('says once that it is away and once that it is back', async () => {
    const engine = connect({ lookMs: 0, breaker: { ...long, openMs: 30 } })
    await scan(engine, samples.clean())
    await fake.kill()
    for (let index = 0; index < 5; index++) await rejection(engine.open(1, never()))
    for (let index = 0; index < 5; index++) await rejection(engine.probe(never()))
    await fake.start()
    await eventually(() => engine.probe(never()))
    await scan(engine, samples.clean())

    expect(lines()).to.deep.equal(['the engine cannot be used', 'the engine works again'])
    expect(events.filter((one) => one === 'down' || one === 'up')).to.deep.equal(['down', 'up'])
  })

  it('is not away while the only scan that it lets through is under way', async () => {
    const engine = connect({ lookMs: 0, breaker: { ...long, successes: 5, openMs: 30 } })
    await fake.kill()
    for (let index = 0; index < 2; index++) await rejection(engine.open(1, never()))
    await fake.start()
    await eventually(() => engine.outage === undefined)
    const stream = await engine.open(3, never())
    const error = await rejection(engine.probe(never()))
    await stream.write(Buffer.from('abc'))
    await stream.end()

    expect(error.message).to.include('is being tried already')
    expect(events.filter((one) => one === 'down' || one === 'up')).to.deep.equal(['down', 'up'])
  })

  it('is not back because something ended well that began before', async () => {
    const engine = connect()
    const stream = await engine.open(3, never())
    await stream.write(Buffer.from('abc'))
    await fake.close()
    closers.pop()
    await rejection(stream.end())
    await rejection(engine.open(1, never()))

    expect(events).not.to.include('up')
  })
})
