import { expect } from 'chai'
import {
  addSweep,
  newSweep,
  nextSweep,
  openState,
  stateKey,
  type Sweep,
} from '../../../services/reconciler/state.ts'
import { StoreUnavailableError } from '../../../services/shared/errors.ts'
import { silentLog } from '../../../services/shared/log.ts'
import { fakeObjectStore } from '../../support/fake-object-store.ts'
import { rejection } from '../../support/rejection.ts'

const bucket = 'avscan-records'
const at = (second: number) => new Date(Date.UTC(2026, 10, 21, 7, 0, second)).toISOString()
const empty = () => ({
  coveredUntil: at(0),
  sweeps: [] as Sweep[],
  buckets: [],
  finished: [],
  signatures: [],
  requests: [],
})
const withSweeps = (...sweeps: Sweep[]) => {
  const state = empty()
  for (const sweep of sweeps) addSweep(state, sweep)
  return state
}
const gap = (second: number, more: Partial<Sweep> = {}) =>
  newSweep({ reason: 'gap', since: at(second), ...more })
const rescan = (version: string) =>
  newSweep({ kind: 'rescan', reason: 'signatures', signatureVersion: version, since: at(0) })

describe('the state of the reconciler', () => {
  it('begins with a sweep of everything, and covered from now on', async () => {
    const store = fakeObjectStore()
    const now = new Date(at(5))

    const { current } = await openState(store, bucket, silentLog, now)

    expect(current.sweeps.map(({ reason, since }) => [reason, since])).to.deep.equal([
      ['first start', undefined],
    ])
    expect(current.coveredUntil).to.equal(at(5))
  })

  it('is there again after a kill', async () => {
    const store = fakeObjectStore()
    const state = await openState(store, bucket, silentLog)
    await state.change((draft) => {
      const [first] = draft.sweeps
      if (first !== undefined) first.cursor = { bucket: 'uploads', after: 'k' }
      draft.signatures = ['100']
    })

    const again = await openState(store, bucket, silentLog)

    expect(again.current).to.deep.equal(state.current)
  })

  for (const broken of ['', '{"sweeps"', '{"version":7}', '[]']) {
    it(`sweeps everything where the state is ${JSON.stringify(broken)}`, async () => {
      const store = fakeObjectStore()
      store.records.set(`${bucket}/${stateKey}`, broken)

      const { current } = await openState(store, bucket, silentLog)

      expect(current.sweeps.map(({ reason }) => reason)).to.deep.equal(['first start'])
    })
  }

  it('does not change when it cannot be written, and takes the next change', async () => {
    const store = fakeObjectStore()
    const state = await openState(store, bucket, silentLog)
    store.before = () => {
      throw new StoreUnavailableError('away')
    }
    const failed = await rejection(state.change((draft) => draft.signatures.push('1')))
    const between = state.current.signatures
    store.before = () => {}

    await state.change((draft) => draft.signatures.push('2'))

    expect(failed).to.be.instanceOf(StoreUnavailableError)
    expect(between).to.deep.equal([])
    expect(state.current.signatures).to.deep.equal(['2'])
  })

  it('keeps what another reconciler writes meanwhile, and takes it', async () => {
    const store = fakeObjectStore()
    const [one, other] = [
      await openState(store, bucket, silentLog),
      await openState(store, bucket, silentLog),
    ]

    await one.change((draft) => draft.requests.push('of one'))
    await other.change((draft) => draft.requests.push('of the other'))
    await one.change((draft) => draft.requests.push('of one again'))

    const { current } = await openState(store, bucket, silentLog)
    expect(current.requests).to.deep.equal(['of one', 'of the other', 'of one again'])
    expect(one.current).to.deep.equal(current)
  })

  it('is written again when somebody has removed it', async () => {
    const store = fakeObjectStore()
    const state = await openState(store, bucket, silentLog)
    store.records.delete(`${bucket}/${stateKey}`)

    await state.change((draft) => draft.requests.push('1'))

    expect((await openState(store, bucket, silentLog)).current.requests).to.deep.equal(['1'])
  })

  it('begins once, though two begin at the same time', async () => {
    const store = fakeObjectStore()

    await Promise.all([openState(store, bucket, silentLog), openState(store, bucket, silentLog)])

    const { current } = await openState(store, bucket, silentLog)
    expect(current.sweeps.map(({ reason }) => reason)).to.deep.equal(['first start'])
  })

  it('takes its own write, whose answer was lost, for its own', async () => {
    const store = fakeObjectStore()
    const state = await openState(store, bucket, silentLog)
    const write = store.writeText.bind(store)
    store.writeText = async (...args) => {
      await write(...args)
      throw new StoreUnavailableError('no answer')
    }
    await rejection(state.change(({ requests }) => requests.push('1')))
    store.writeText = write

    await state.change(({ requests }) => requests.push('1'))

    expect(state.current.requests).to.deep.equal(['1'])
  })

  it('makes changes one after the other', async () => {
    const store = fakeObjectStore()
    const state = await openState(store, bucket, silentLog)
    const numbers = Array.from({ length: 10 }, (_, index) => String(index))

    await Promise.all(numbers.map((one) => state.change((draft) => draft.requests.push(one))))

    expect(state.current.requests).to.deep.equal(numbers)
  })
})

const asked = (id: string) => newSweep({ id, reason: 'asked for', asked: true })

describe('the list of sweeps', () => {
  it('takes what events missed first, then re-scans, then everything', () => {
    const state = withSweeps(newSweep({ reason: 'interval' }), rescan('100'), gap(3))
    const order: (string | undefined)[] = []
    while (state.sweeps.length > 0) {
      const next = nextSweep(state)
      order.push(next?.reason)
      state.sweeps = state.sweeps.filter((one) => one !== next)
    }

    expect(order).to.deep.equal(['gap', 'signatures', 'interval'])
  })

  it('widens a sweep that waits instead of adding another', () => {
    const { sweeps } = withSweeps(gap(5), gap(3), gap(4))

    expect(sweeps.map(({ since }) => since)).to.deep.equal([at(3)])
  })

  it('adds one where the other has begun: what it has passed it does not see again', () => {
    const { sweeps } = withSweeps(gap(5, { startedAt: at(6) }), gap(3))

    expect(sweeps.length).to.equal(2)
  })

  it('keeps each sweep that somebody asked for', () => {
    const { sweeps } = withSweeps(newSweep({ reason: 'interval' }), asked('a'), asked('b'))

    expect(sweeps.length).to.equal(3)
  })

  it('has one re-scan, for the newest signatures', () => {
    const { sweeps } = withSweeps(rescan('100'), rescan('101'))

    expect(sweeps.map(({ signatureVersion }) => signatureVersion)).to.deep.equal(['101'])
  })
})
