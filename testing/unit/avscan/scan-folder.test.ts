import { expect } from 'chai'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../../support/eventually.ts'
import { Budget, Gate, openScanFolder } from '../../../services/avscan/scan-folder.ts'
import { FatalError, NoSpaceError } from '../../../services/shared/errors.ts'

const never = new AbortController().signal

describe('openScanFolder', () => {
  let parent: string
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), 'scan-folder-'))
  })
  afterEach(() => rm(parent, { recursive: true, force: true }))

  it('makes a sub-folder that only this user can enter', async () => {
    const folder = await openScanFolder(parent, 1)

    expect((await stat(folder.path)).mode & 0o777).to.equal(0o700)
    await folder.close()
  })

  it('purges what a dead process left and keeps what a living one has', async () => {
    const alive = await openScanFolder(parent, 1)
    await writeFile(join(alive.path, 'running'), 'x')
    await mkdir(join(parent, 'deadbeef'))
    await writeFile(join(parent, 'deadbeef', 'left'), 'x')
    await writeFile(join(parent, 'deadbeef.lock'), '')
    await writeFile(join(parent, 'not-ours'), 'x')

    const folder = await openScanFolder(parent, 1)

    const names = await readdir(parent)
    expect(names).to.not.include('deadbeef').and.not.include('deadbeef.lock')
    expect(names).to.include('not-ours')
    expect(await readdir(alive.path)).to.deep.equal(['running'])
    await folder.close()
    await alive.close()
  })

  it('leaves nothing behind when closed', async () => {
    const folder = await openScanFolder(parent, 1)
    await writeFile(join(folder.path, 'left'), 'x')

    await folder.close()

    expect(await readdir(parent)).to.deep.equal([])
  })

  it('says what to do when the folder cannot be made', async () => {
    await writeFile(join(parent, 'file'), '')

    const error = await openScanFolder(join(parent, 'file', 'sub'), 1).catch(
      (thrown: unknown) => thrown,
    )

    expect(error).to.be.instanceOf(FatalError)
    expect((error as FatalError).hint).to.include('SCAN_FOLDER')
  })

  it('tells when the file system has no room', async () => {
    const folder = await openScanFolder(parent, 1)

    const error = await folder.checkRoom(2 ** 60).catch((thrown: unknown) => thrown)

    expect(error).to.be.instanceOf(NoSpaceError)
    expect((error as NoSpaceError).needBytes).to.equal(2 ** 60)
    await folder.close()
  })
})

describe('Budget', () => {
  it('never lets the sum exceed the total', () => {
    const budget = new Budget(80)

    expect([60, 11, 10, 10, 10, 1].map((bytes) => budget.tryReserve(bytes))).to.deep.equal([
      true,
      false,
      true,
      true,
      false,
      false,
    ])
    expect(budget.usedBytes).to.equal(80)
  })

  it('keeps a part for small ones, which large ones leave alone and need not be waited for', async () => {
    const budget = new Budget(80)
    expect(budget.tryReserve(40)).to.equal(true)
    let isIn = false
    const second = budget.reserve(40, never).then(() => (isIn = true))

    expect(budget.tryReserve(10), 'small beside them').to.equal(true)
    budget.release(10)
    expect(isIn).to.equal(false)
    budget.release(40)
    await second
  })

  it('lets no more small ones past than their part, so that a large one is not starved', async () => {
    const budget = new Budget(80)
    const order: string[] = []
    for (let index = 0; index < 4; index++) budget.tryReserve(10)
    const large = budget.reserve(70, never).then(() => order.push('large'))
    const small = budget.reserve(10, never).then(() => order.push('small'))

    expect(budget.tryReserve(1), 'overtook those who wait').to.equal(false)
    for (let index = 0; index < 3; index++) budget.release(10)
    await large
    expect(budget.usedBytes).to.equal(80)
    budget.release(10)
    await small

    expect(order).to.deep.equal(['large', 'small'])
  })

  it('gives an object as large as the budget all of it', async () => {
    const budget = new Budget(80)
    budget.tryReserve(10)
    const whole = budget.reserve(80, never)
    budget.release(10)
    await whole
    expect(budget.usedBytes).to.equal(80)
  })

  it('gives up a place in the queue when aborted, and lets the next one in', async () => {
    const budget = new Budget(80)
    const controller = new AbortController()
    budget.tryReserve(40)
    const first = budget.reserve(70, controller.signal).catch((error: Error) => error.message)
    const second = budget.reserve(30, never)

    controller.abort(new Error('stopped'))

    expect(await first).to.equal('stopped')
    await second
    expect(budget.usedBytes).to.equal(70)
  })

  it('refuses at once what can never fit', async () => {
    const error = await new Budget(10).reserve(11, never).catch((thrown: unknown) => thrown)

    expect(error).to.be.instanceOf(RangeError)
  })
})

describe('Gate', () => {
  it('lets others past who waits to be alone behind something long, and into what is alone for long', async () => {
    const gate = new Gate({ patienceMs: 50 })
    const [long, solo] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const ofLong = gate.run(false, () => long.promise)
    let isAlone = false
    const ofSolo = gate.run(true, () => {
      isAlone = true
      return solo.promise
    })

    expect(await gate.run(false, () => Promise.resolve('past'))).to.equal('past')
    expect(isAlone).to.equal(false)
    long.resolve()
    await ofLong
    await eventually(() => isAlone)
    expect(await gate.run(false, () => Promise.resolve('into'))).to.equal('into')
    solo.resolve()
    await ofSolo
  })

  it('lets nobody wait without end to be alone', async () => {
    const gate = new Gate({ patienceMs: 10, aloneMs: 40 })
    const long = Promise.withResolvers<void>()
    const ofLong = gate.run(false, () => long.promise)

    expect(await gate.run(true, () => Promise.resolve('in'))).to.equal('in')
    long.resolve()
    await ofLong
  })

  it('lets one in alone only after all others have left, and nobody beside it', async () => {
    const gate = new Gate()
    const log: string[] = []
    const first = Promise.withResolvers<void>()
    const alone = Promise.withResolvers<void>()
    const a = gate.run(false, async () => {
      log.push('a in')
      await first.promise
      log.push('a out')
    })
    const b = gate.run(true, async () => {
      log.push('alone in')
      await alone.promise
      log.push('alone out')
    })
    const c = gate.run(false, async () => {
      log.push('c in')
    })

    first.resolve()
    await a
    alone.resolve()
    await Promise.all([b, c])

    expect(log).to.deep.equal(['a in', 'a out', 'alone in', 'alone out', 'c in'])
  })

  it('opens again when the work throws', async () => {
    const gate = new Gate()
    await gate.run(true, () => Promise.reject(new Error('x'))).catch(() => {})

    expect(await gate.run(true, async () => 'in')).to.equal('in')
  })
})
