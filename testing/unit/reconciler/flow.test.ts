import { expect } from 'chai'
import { Flow } from '../../../services/reconciler/flow.ts'
import { openState, type StateFile } from '../../../services/reconciler/state.ts'
import { silentLog } from '../../../services/shared/log.ts'
import { fakeObjectStore, type FakeObjectStore } from '../../support/fake-object-store.ts'

const minute = (count: number) => new Date(Date.UTC(2026, 10, 21, 7, count))
const marginMs = 60_000

const pass = (watch: Flow, at: Date) => watch.passed(watch.beginCanary().ticket, at)

const before = (date: Date) => new Date(date.getTime() - marginMs).toISOString()

describe('the watch over the flow of events', () => {
  let store: FakeObjectStore
  let state: StateFile
  let isIdle = true
  beforeEach(async () => {
    isIdle = true
    store = fakeObjectStore()
    state = await openState(store, 'avscan-records', silentLog, minute(0))
    await state.change((draft) => (draft.sweeps = []))
  })
  const flow = (everyMs = 1_000_000) =>
    new Flow({
      state,
      marginMs,
      everyMs,
      isIdle: async () => isIdle,
      onGap: () => {},
      log: silentLog,
    })
  /** One that has seen a canary come through, at minute 10. */
  const well = async () => {
    const watch = flow()
    await pass(watch, minute(10))
    await state.change((draft) => (draft.sweeps = []))
    return watch
  }
  const sinces = () => state.current.sweeps.map(({ since }) => since)

  it('sweeps what came while nobody watched, as soon as a canary comes through', async () => {
    const watch = flow()
    const early = sinces()
    await pass(watch, minute(10))

    expect(early).to.deep.equal([])
    expect(sinces()).to.deep.equal([before(minute(0))])
    expect(state.current.coveredUntil).to.equal(minute(10).toISOString())
  })

  it('sweeps nothing while all is well, and is covered up to the last canary', async () => {
    const watch = await well()
    await pass(watch, minute(11))
    await pass(watch, minute(12))

    expect(sinces()).to.deep.equal([])
    expect(state.current.coveredUntil).to.equal(minute(12).toISOString())
  })

  it('waits with the sweep until a canary comes through, and begins before the last good moment', async () => {
    const watch = await well()
    watch.lost('the object store went away')
    const meanwhile = sinces()
    await pass(watch, minute(15))

    expect(meanwhile).to.deep.equal([])
    expect(sinces()).to.deep.equal([before(minute(10))])
    expect(watch.isWell).to.equal(true)
  })

  it('does not believe a canary that was on its way when something went wrong', async () => {
    const watch = await well()
    const { ticket } = watch.beginCanary()
    watch.lost('the object store went away')
    await watch.passed(ticket, minute(14))

    expect(sinces()).to.deep.equal([])
    expect(watch.isWell).to.equal(false)
    expect(state.current.coveredUntil).to.equal(minute(10).toISOString())
  })

  it('tells a canary on its way that it is void', async () => {
    const watch = await well()
    const { disturbed } = watch.beginCanary()
    watch.lost('the object store went away')

    expect(disturbed.aborted).to.equal(true)
    expect(watch.beginCanary().disturbed.aborted).to.equal(false)
  })

  it('has a new gap when something goes wrong while one is closed', async () => {
    const watch = await well()
    watch.lost('first')
    const closing = pass(watch, minute(15))
    watch.lost('second')
    await closing

    expect(watch.isWell).to.equal(false)
    await pass(watch, minute(20))
    expect(watch.isWell).to.equal(true)
    // Both gaps are covered.
    expect(sinces()[0]).to.equal(before(minute(10)))
    expect(state.current.coveredUntil).to.equal(minute(20).toISOString())
  })

  it('knows the gap still after a kill', async () => {
    const watch = await well()
    watch.lost('the object store went away')
    const again = flow()
    await pass(again, minute(30))

    expect(sinces()).to.deep.equal([before(minute(10))])
  })

  it('does not count as covered what could not be written down', async () => {
    const watch = await well()
    watch.lost('the object store went away')
    store.before = () => {
      throw new Error('away')
    }
    await pass(watch, minute(15)).catch(() => {})
    store.before = () => {}

    expect(watch.isWell).to.equal(false)
    expect(state.current.coveredUntil).to.equal(minute(10).toISOString())
  })

  it('sweeps all the same while canaries keep failing, and not on top of jobs that wait', async () => {
    const watch = flow(0)
    isIdle = false
    await watch.stillLost()
    const busy = sinces()
    isIdle = true
    await watch.stillLost()

    expect(busy).to.deep.equal([])
    expect(sinces()).to.deep.equal([before(minute(0))])
    expect(state.current.coveredUntil).to.equal(minute(0).toISOString())
    expect(watch.isWell).to.equal(false)
  })
})
