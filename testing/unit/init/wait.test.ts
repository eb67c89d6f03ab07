import { expect } from 'chai'
import { initTimeoutMs, waitFor } from '../../../services/init/wait.ts'
import { FatalError } from '../../../services/shared/errors.ts'
import { rejection } from '../../support/rejection.ts'

describe('waitFor', () => {
  let clock = 0
  const said: string[] = []
  const options = {
    what: 'broker mq:1',
    timeoutMs: 10_000,
    now: () => clock,
    pause: (ms: number) => Promise.resolve((clock += ms)),
    waiting: (reason: string) => said.push(reason),
  }
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  beforeEach(() => {
    clock = 0
    said.length = 0
  })

  it('tries again until it succeeds, and says once that it waits', async () => {
    let tries = 0
    const result = await waitFor(
      () => (++tries < 4 ? Promise.reject(refused) : Promise.resolve('up')),
      options,
    )

    expect(result).to.equal('up')
    expect(said).to.eql(['connect ECONNREFUSED'])
  })

  it('gives up at the deadline with what, how long, why and a hint', async () => {
    const error = (await rejection(waitFor(() => Promise.reject(refused), options))) as FatalError

    expect(error).to.be.instanceOf(FatalError)
    expect(error.message).to.equal('broker mq:1 did not answer within 10 s: connect ECONNREFUSED')
    expect(error.hint).to.include('nothing listens there')
  })

  it('does not wait for what only a person can mend', async () => {
    const expired = Object.assign(new Error('x'), { code: 'CERT_HAS_EXPIRED' })
    const error = (await rejection(waitFor(() => Promise.reject(expired), options))) as FatalError

    expect(error.message).to.include('has expired')
    expect(clock).to.equal(0)
  })
})

describe('initTimeoutMs', () => {
  it('is two minutes, or what INIT_TIMEOUT says in seconds', () => {
    expect(initTimeoutMs({})).to.equal(120_000)
    expect(initTimeoutMs({ INIT_TIMEOUT: '5' })).to.equal(5000)
  })

  for (const value of ['soon', '0', '-1'])
    it(`refuses ${value}`, () => {
      expect(() => initTimeoutMs({ INIT_TIMEOUT: value })).to.throw('expected seconds')
    })
})
