import { expect } from 'chai'
import { createRequestLane, isNews } from '../../../services/reconciler/requests.ts'
import { openState, type StateFile } from '../../../services/reconciler/state.ts'
import type { Delivery } from '../../../services/shared/consumer.ts'
import { DiscardError, StoreUnavailableError } from '../../../services/shared/errors.ts'
import { silentLog } from '../../../services/shared/log.ts'
import { fakeObjectStore } from '../../support/fake-object-store.ts'
import { rejection } from '../../support/rejection.ts'

const heard = (...versions: string[]) => {
  let signatures: string[] = []
  return versions.filter((version) => {
    if (!isNews({ signatures }, version)) return false
    signatures = [...signatures, version].slice(-2)
    return true
  })
}

describe('news of signatures', () => {
  for (const [title, said, news] of [
    ['the same again', ['99', '99'], ['99']],
    [
      'numbers go up only, whatever a worker says that is behind',
      ['99', '100', '99', '100', '99'],
      ['99', '100'],
    ],
    ['others in turns while workers change over', ['a', 'b', 'a', 'b', 'a'], ['a', 'b']],
    ['a third one', ['a', 'b', 'a', 'c'], ['a', 'b', 'c']],
    ['back to what was given up', ['a', 'b', 'c', 'a'], ['a', 'b', 'c', 'a']],
    ['from a number to a word', ['99', 'test', '99'], ['99', 'test']],
  ] as const) {
    it(title, () => {
      expect(heard(...said)).to.deep.equal(news)
    })
  }
})

const signatures = (signatureVersion: string) => ({
  type: 'signatures.updated',
  timestamp: new Date().toISOString(),
  data: { schemaVersion: '1.0', signatureVersion },
})
const request = (id: string, more: object = {}) => ({
  type: 'sweep.requested',
  timestamp: new Date().toISOString(),
  data: { id, reason: 'make sweep', ...more },
})

describe('the reconcile lane', () => {
  let store: ReturnType<typeof fakeObjectStore>
  let state: StateFile
  beforeEach(async () => {
    store = fakeObjectStore()
    state = await openState(store, 'avscan-records', silentLog)
  })
  const handle = (message: unknown, rescanWindowMs = 60_000) => {
    const lane = createRequestLane({ state, log: silentLog, rescanWindowMs, probe: async () => {} })
    return lane.handle({ body: Buffer.from(JSON.stringify(message)) } as Delivery)
  }
  const waiting = () =>
    state.current.sweeps
      .filter(({ reason }) => reason !== 'first start')
      .map(({ id, kind, signatureVersion }) => (kind === 'rescan' ? signatureVersion : id))

  it('returns when the wish is written down', async () => {
    await handle(request('one', { since: '2026-11-21T07:00:00Z' }))

    const written = await openState(store, 'avscan-records', silentLog)
    expect(written.current.sweeps.at(-1)).to.include({
      id: 'one',
      asked: true,
      since: '2026-11-21T07:00:00.000Z',
    })
  })

  it('takes two wishes with one id for one, also when the first is done', async () => {
    await handle(request('one'))
    await handle(request('one'))
    await state.change((draft) => (draft.sweeps = []))
    await handle(request('one'))
    await handle(request('two'))

    expect(waiting()).to.deep.equal(['two'])
  })

  it('lets the message wait while the store is away', async () => {
    store.before = () => {
      throw new StoreUnavailableError('away')
    }

    expect(await rejection(handle(request('one')))).to.be.instanceOf(StoreUnavailableError)
  })

  it('only remembers the first signatures', async () => {
    await handle(signatures('99'))

    expect(waiting()).to.deep.equal([])
    expect(state.current.signatures).to.deep.equal(['99'])
  })

  it('scans again when they change, once', async () => {
    await handle(signatures('99'))
    for (const version of ['100', '99', '100', '99']) await handle(signatures(version))

    expect(waiting()).to.deep.equal(['100'])
  })

  it('says the version as proofs do', async () => {
    await handle(signatures('1/a b'))
    await handle(signatures('2/a b'))

    expect(waiting()).to.deep.equal(['2-a-b'])
  })

  it('does nothing but remember where the window is 0', async () => {
    await handle(signatures('99'), 0)
    await handle(signatures('100'), 0)

    expect(waiting()).to.deep.equal([])
    expect(state.current.signatures).to.deep.equal(['99', '100'])
  })

  it('refuses what it does not know', async () => {
    expect(await rejection(handle({ type: 'hello', timestamp: 'now', data: {} }))).to.be.instanceOf(
      DiscardError,
    )
  })
})
