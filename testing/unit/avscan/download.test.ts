import { expect } from 'chai'
import { createHash, randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { judge } from '../../../services/avscan/download.ts'
import { TempFile } from '../../../services/avscan/temp-file.ts'
import { EngineUnavailableError } from '../../../services/shared/errors.ts'
import { fakeEngine, marker } from '../../support/fake-engine.ts'
import { bucket, scanBench, type ScanBench } from '../../support/scan-bench.ts'
import { rejection } from '../../support/rejection.ts'

const never = new AbortController().signal

describe('judge', () => {
  let bench: ScanBench
  beforeEach(async () => {
    bench = await scanBench()
  })
  afterEach(() => bench.close())

  const open = (bytes: Buffer | string) => {
    const { key } = bench.store.put(bucket, 'k', bytes)
    return bench.store.open({ bucket, key })
  }

  for (const size of [0, 1, 16_384, 262_144, 262_145, 3_000_001]) {
    it(`hands an engine exactly the ${size} bytes of the object`, async () => {
      const bytes = randomBytes(size)

      const result = await judge(await open(bytes), [bench.engine], bench.folder.path, never)

      expect(bench.engine.scanned[0]?.equals(bytes)).to.equal(true)
      expect(result.sha256).to.equal(createHash('sha256').update(bytes).digest('hex'))
      expect(result.bytes).to.equal(size)
    })
  }

  it('feeds a slow and a fast engine the same bytes', async () => {
    const bytes = randomBytes(2_000_000)
    const slow = fakeEngine('slow')
    slow.onWrite = () => new Promise((resolve) => setImmediate(resolve))

    await judge(await open(bytes), [bench.engine, slow], bench.folder.path, never)

    expect(bench.engine.scanned[0]?.equals(bytes)).to.equal(true)
    expect(slow.scanned[0]?.equals(bytes)).to.equal(true)
  })

  it('feeds an engine that has a free place only after the download', async () => {
    const bytes = randomBytes(1_000_000)
    const free = Promise.withResolvers<void>()
    bench.engine.onOpen = () => free.promise
    const object = await open(bytes)
    object.body.once('end', free.resolve)

    await judge(object, [bench.engine], bench.folder.path, never)

    expect(bench.engine.scanned[0]?.equals(bytes)).to.equal(true)
  })

  it('makes an error, never a finding, of a download that breaks off', async () => {
    bench.store.cutAfterBytes = 20_000

    const error = await rejection(
      judge(await open(randomBytes(50_000)), [bench.engine], bench.folder.path, never),
    )

    expect(error.message).to.include('broke off after 20000 of 50000 bytes')
    expect(bench.engine.scanned).to.deep.equal([])
    expect(bench.engine.aborted).to.have.length(1)
  })

  it('makes an error of a body that is shorter than announced', async () => {
    const object = await open(randomBytes(1000))

    const error = await rejection(
      judge({ ...object, size: 1001 }, [bench.engine], bench.folder.path, never),
    )

    expect(error.message).to.include('sent 1000 bytes and had announced 1001')
    expect(bench.engine.scanned).to.deep.equal([])
  })

  it('makes an error of a body that is longer than announced', async () => {
    const object = await open(randomBytes(1000))

    const error = await rejection(
      judge({ ...object, size: 999 }, [bench.engine], bench.folder.path, never),
    )

    expect(error.message).to.include('had announced 999')
    expect(bench.engine.scanned).to.deep.equal([])
  })

  it('lets an engine that is away rise as such, and stops the others', async () => {
    const away = fakeEngine('away')
    away.onOpen = () => {
      throw new EngineUnavailableError('refused')
    }

    const error = await rejection(
      judge(await open(randomBytes(1_000_000)), [bench.engine, away], bench.folder.path, never),
    )

    expect(error).to.be.instanceOf(EngineUnavailableError)
    expect(bench.engine.scanned).to.deep.equal([])
  })

  it('has no finding when one of two engines fails', async () => {
    const broken = fakeEngine('broken')
    broken.judge = () => {
      throw new Error('engine says nonsense')
    }

    const error = await rejection(
      judge(await open(`xx${marker}`), [broken, bench.engine], bench.folder.path, never),
    )

    expect(error.message).to.equal('engine says nonsense')
  })

  it('stops when aborted in the middle', async () => {
    const controller = new AbortController()
    bench.engine.onWrite = () => controller.abort(new Error('shutdown'))

    const error = await rejection(
      judge(
        await open(randomBytes(2_000_000)),
        [bench.engine],
        bench.folder.path,
        controller.signal,
      ),
    )

    expect(error.message).to.equal('shutdown')
    expect(bench.engine.scanned).to.deep.equal([])
  })

  it('keeps the bytes in a random name with mode 0600 while it scans', async () => {
    const seen: { name: string; mode: number }[] = []
    bench.engine.judge = async () => {
      for (const name of await bench.filesLeft())
        seen.push({ name, mode: (await stat(`${bench.folder.path}/${name}`)).mode & 0o777 })
      return { status: 'clean' }
    }

    await judge(await open('x'), [bench.engine], bench.folder.path, never)

    expect(seen).to.have.length(1)
    expect(seen[0]?.mode).to.equal(0o600)
    expect(seen[0]?.name).to.match(/^[0-9a-f-]{36}$/)
  })

  for (const [title, prepare] of [
    ['a finding', () => {}],
    [
      'a failed engine',
      (bench: ScanBench) => {
        bench.engine.judge = () => {
          throw new Error('x')
        }
      },
    ],
    [
      'a broken download',
      (bench: ScanBench) => {
        bench.store.cutAfterBytes = 5
      },
    ],
  ] as const) {
    it(`removes the file after ${title}`, async () => {
      prepare(bench)

      await judge(await open('some bytes'), [bench.engine], bench.folder.path, never).catch(
        () => {},
      )

      expect(await bench.filesLeft()).to.deep.equal([])
    })
  }
})

describe('TempFile', () => {
  it('gives a late reader what was written before it came', async () => {
    const bench = await scanBench()
    const parts = [randomBytes(300_000), randomBytes(10), randomBytes(300_000)]
    const file = await TempFile.create(bench.folder.path, 600_010)
    for (const part of parts) await file.append(part)
    file.end()

    const read: Buffer[] = []
    for await (const chunk of file.chunks()) read.push(Buffer.from(chunk))

    expect(Buffer.concat(read).equals(Buffer.concat(parts))).to.equal(true)
    await file.remove()
    await bench.close()
  })

  it('ends a waiting reader with the reason of the failure', async () => {
    const bench = await scanBench()
    const file = await TempFile.create(bench.folder.path, 10)
    const reading = (async () => {
      for await (const _ of file.chunks()) expect.fail('a chunk')
    })().catch((error: Error) => error.message)

    file.fail(new Error('store is gone'))

    expect(await reading).to.equal('store is gone')
    await file.remove()
    await bench.close()
  })
})
