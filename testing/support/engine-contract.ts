// The contract every engine has to keep: one suite, run against fakes and against the real daemons.
import { expect } from 'chai'
import type { Engine, Finding } from '../../services/avscan/engines/engine.ts'
import { EngineUnavailableError } from '../../services/shared/errors.ts'
import { eventually } from './eventually.ts'
import { rejection } from './rejection.ts'
import { samples } from './samples.ts'

/** Every subject is set up with two connections and these limits. */
export const contractLimits = {
  connections: 2,
  maxObjectBytes: 32_000_000,
  maxScanBytes: 48_000_000,
}

export interface Subject {
  engine: Engine
  /** as SIGSTOP to what scans */
  freeze(): void
  /** as kill -9 to what scans */
  kill(): Promise<void>
  /** after `kill` */
  restart(): Promise<void>
  close(): Promise<void>
}

const never = () => new AbortController().signal

export async function scan(engine: Engine, bytes: Buffer, chunkBytes = 65_536): Promise<Finding> {
  const stream = await engine.open(bytes.length, never())
  for (let at = 0; at < bytes.length; at += chunkBytes)
    await stream.write(bytes.subarray(at, at + chunkBytes))
  return stream.end()
}

export function engineContract(setUp: () => Promise<Subject>): void {
  let subject: Subject
  let engine: Engine

  before(async function () {
    this.timeout(30_000)
    subject = await setUp()
    engine = subject.engine
  })
  after(() => subject?.close())

  it('passes its probe and says what it is', async () => {
    const info = await engine.probe(never())

    expect(info.engineVersion).to.match(/^\d+\.\d+/)
    expect(info.signatureVersion).to.match(/^\d+$/)
    expect(engine.info).to.deep.equal(info)
  })

  it('calls a clean object clean', async () => {
    expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
  })

  it('calls an empty object clean', async () => {
    expect(await scan(engine, samples.empty())).to.deep.equal({ status: 'clean' })
  })

  it('finds EICAR', async () => {
    expect(await scan(engine, samples.eicar())).to.have.property('status', 'infected')
    expect(await scan(engine, samples.eicar()))
      .to.have.property('signature')
      .that.matches(/eicar/i)
  })

  it('finds EICAR in a zip', async () => {
    expect(await scan(engine, samples.zipWithEicar())).to.have.property('status', 'infected')
  })

  it('cannot scan an encrypted zip', async () => {
    expect(await scan(engine, samples.encryptedZip())).to.deep.equal({
      status: 'unscannable',
      reason: 107,
      detail: 'Heuristics.Encrypted.Zip',
    })
  })

  it('cannot scan what unpacks to more than the limit', async () => {
    const finding = await scan(engine, samples.bomb(contractLimits.maxScanBytes + 16_000_000))

    expect(finding).to.include({ status: 'unscannable', reason: 101 })
  })

  it('cannot scan an object over our own limit, and sends nothing of it', async () => {
    const stream = await engine.open(contractLimits.maxObjectBytes + 1, never())
    await stream.write(samples.eicar())

    expect(await stream.end()).to.include({ status: 'unscannable', reason: 101 })
  })

  for (const [title, chunkBytes] of [
    ['one chunk', 20_000_000],
    ['small chunks', 10_007],
  ] as const)
    it(`finds EICAR at the end of 20 MB sent in ${title}`, async () => {
      expect(
        await scan(engine, samples.large(20_000_000, samples.eicar()), chunkBytes),
      ).to.have.property('status', 'infected')
    }).timeout(20_000)

  it('calls 20 MB of noise clean', async () => {
    expect(await scan(engine, samples.large(20_000_000))).to.deep.equal({ status: 'clean' })
  }).timeout(20_000)

  for (const size of [262_143, 262_144, 262_145, 524_288])
    it(`scans all of ${size} bytes`, async () => {
      expect(await scan(engine, samples.large(size, samples.eicar()))).to.have.property(
        'status',
        'infected',
      )
    })

  for (const [title, sent] of [
    ['one byte', 1_999_999],
    ['nearly all', 10],
    ['everything', 0],
  ] as const)
    it(`never calls an object clean of which ${title} is missing`, async () => {
      const stream = await engine.open(2_000_000, never())
      if (sent > 0) await stream.write(Buffer.alloc(sent))

      expect(await rejection(stream.end()))
        .to.be.an('error')
        .that.is.not.instanceOf(EngineUnavailableError)
    })

  it('refuses more bytes than were announced', async () => {
    const stream = await engine.open(10, never())

    expect(await rejection(stream.write(Buffer.alloc(11)))).to.be.an('error')
    expect(await rejection(stream.end())).to.be.an('error')
  })

  it('gives no finding after an abort in mid-stream, and scans the next object', async () => {
    const stream = await engine.open(3_000_000, never())
    await stream.write(Buffer.alloc(1_000_000))
    stream.abort(new Error('the download broke'))

    expect(await rejection(stream.end())).to.have.property('message', 'the download broke')
    expect(await scan(engine, samples.clean())).to.deep.equal({ status: 'clean' })
  })

  it('gives no finding when its signal aborts', async () => {
    const controller = new AbortController()
    const stream = await engine.open(1_000_000, controller.signal)
    await stream.write(Buffer.alloc(600_000))
    controller.abort(new Error('shutting down'))

    expect(await rejection(stream.end())).to.have.property('message', 'shutting down')
  })

  it('stops waiting for a place when its signal aborts', async () => {
    const taken = [await engine.open(10, never()), await engine.open(10, never())]
    const controller = new AbortController()
    const waiting = rejection(engine.open(10, controller.signal))
    controller.abort(new Error('shutting down'))

    expect(await waiting).to.have.property('message', 'shutting down')
    for (const stream of taken) stream.abort(new Error('enough'))
  })

  it('tells a dozen objects apart that are scanned at once', async () => {
    const kinds = [
      samples.clean,
      samples.eicar,
      samples.encryptedZip,
      () => samples.large(900_000, samples.eicar()),
    ]
    const objects = Array.from(
      { length: 12 },
      (_, index) => kinds[index % kinds.length]?.() ?? Buffer.alloc(0),
    )

    const findings = await Promise.all(objects.map((bytes) => scan(engine, bytes, 50_000)))

    const statuses = ['clean', 'infected', 'unscannable', 'infected']
    expect(findings.map((one) => one.status)).to.deep.equal([...statuses, ...statuses, ...statuses])
  }).timeout(20_000)

  it('gives no finding when the engine is killed while it receives', async () => {
    const stream = await engine.open(4_000_000, never())
    await stream.write(Buffer.alloc(1_000_000))
    await subject.kill()
    const rest = (async () => {
      await stream.write(Buffer.alloc(3_000_000))
      return stream.end()
    })()

    expect(await rejection(rest))
      .to.be.an('error')
      .that.is.not.instanceOf(EngineUnavailableError)
  })

  it('says that a dead engine is unavailable before anything is sent', async () => {
    expect(await rejection(engine.open(10, never()))).to.be.instanceOf(EngineUnavailableError)
    expect(await rejection(engine.probe(never()))).to.be.instanceOf(EngineUnavailableError)
  })

  it('works again when the engine is back', async () => {
    await subject.restart()

    await eventually(() => engine.probe(never()))
    expect(await scan(engine, samples.eicar())).to.have.property('status', 'infected')
  }).timeout(30_000)

  it('gives no finding when the engine is killed while it scans', async () => {
    const bytes = samples.large(500_000)
    const stream = await engine.open(bytes.length, never())
    await stream.write(bytes)
    subject.freeze()
    const finding = rejection(stream.end())
    await subject.kill()

    expect(await finding)
      .to.be.an('error')
      .that.is.not.instanceOf(EngineUnavailableError)
  })
}
