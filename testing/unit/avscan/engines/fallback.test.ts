import { expect } from 'chai'
import { withFallback } from '../../../../services/avscan/engines/fallback.ts'
import type { Engine } from '../../../../services/avscan/engines/engine.ts'
import { EngineUnavailableError } from '../../../../services/shared/errors.ts'
import { scan } from '../../../support/engine-contract.ts'
import { fakeEngine, type FakeEngine } from '../../../support/fake-engine.ts'
import { rejection } from '../../../support/rejection.ts'

const never = () => new AbortController().signal
const away = (what: string) => () => {
  throw new EngineUnavailableError(`${what} is away`)
}

describe('withFallback', () => {
  let first: FakeEngine
  let second: FakeEngine
  let engine: Engine
  beforeEach(() => {
    first = fakeEngine('first', { signatureVersion: '100' })
    second = fakeEngine('second', { signatureVersion: '7' })
    engine = withFallback(first, second)
  })
  const judgeOf = async () => {
    const stream = await engine.open(3, never())
    stream.abort(new Error('enough'))
    return [stream.by.name, stream.by.info.signatureVersion]
  }

  it('asks the first one, and the verdict is by its signatures', async () => {
    expect(await judgeOf()).to.deep.equal(['first', '100'])
  })

  it('asks the second while the first cannot be used, and the verdict is by the second', async () => {
    first.onOpen = away('first')

    expect(await judgeOf()).to.deep.equal(['second', '7'])
  })

  it('does not even try the first while all of its addresses are left alone', async () => {
    Object.assign(first, { outage: new EngineUnavailableError('all open') })
    first.onOpen = () => expect.fail('was asked')

    expect(await judgeOf()).to.deep.equal(['second', '7'])
  })

  it('never gives the second an object of which the first has seen something', async () => {
    first.onWrite = () => {
      throw new Error('connection lost')
    }

    expect((await rejection(scan(engine, Buffer.from('abc')))).message).to.equal('connection lost')
    expect(second.scanned).to.have.length(0)
  })

  it('is unavailable when neither can be used, and says why for both', async () => {
    first.onOpen = away('first')
    second.onOpen = away('second')
    const error = await rejection(engine.open(3, never()))

    expect(error).to.be.instanceOf(EngineUnavailableError)
    expect(error.message).to.equal('first is away; and its fallback: second is away')
  })

  it('passes its probe when one of the two does', async () => {
    first.probe = () => Promise.reject(new EngineUnavailableError('first is away'))
    const { signatureVersion } = await engine.probe(never())
    second.probe = () => Promise.reject(new EngineUnavailableError('second is away'))

    expect(signatureVersion).to.equal('7')
    expect(await rejection(engine.probe(never()))).to.be.instanceOf(EngineUnavailableError)
  })

  it('has an outage only when both have', () => {
    Object.assign(first, { outage: new Error('one') })
    const before = engine.outage
    Object.assign(second, { outage: new Error('two') })

    expect(before).to.equal(undefined)
    expect(engine.outage?.message).to.equal('one; and its fallback: two')
  })
})
