import { expect } from 'chai'
import { Breaker } from '../../../../services/avscan/engines/breaker.ts'

const options = { failures: 3, openMs: 1_000, successes: 2 }

describe('Breaker', () => {
  let now: number
  let breaker: Breaker
  beforeEach(() => {
    now = 5_000
    breaker = new Breaker(options, () => now)
  })

  const fail = (times = 1, message = 'refused') => {
    for (let index = 0; index < times; index++) breaker.begin().failed(new Error(message))
  }
  const succeed = (times = 1) => {
    for (let index = 0; index < times; index++) breaker.begin().succeeded()
  }

  it('opens after so many failures in a row', () => {
    fail(2)
    const before = breaker.state
    fail()

    expect([before, breaker.state]).to.deep.equal(['closed', 'open'])
    expect(breaker.free).to.equal(false)
    expect(breaker.usable).to.equal(false)
  })

  it('counts from the beginning after a success', () => {
    fail(2)
    succeed()
    fail(2)

    expect(breaker.state).to.equal('closed')
  })

  it('does not count what was dropped, as failure or as success', () => {
    fail(2)
    breaker.begin().dropped()
    fail()

    expect(breaker.state).to.equal('open')
  })

  it('counts what is told first', () => {
    for (let index = 0; index < 3; index++) {
      const trial = breaker.begin()
      trial.dropped()
      trial.failed(new Error('late'))
    }

    expect(breaker.state).to.equal('closed')
  })

  it('lets any number through while it is closed', () => {
    const trials = Array.from({ length: 10 }, () => breaker.begin())

    expect(breaker.free).to.equal(true)
    for (const trial of trials) trial.succeeded()
  })

  it('says what it opened for and how long it will stay so', () => {
    fail(3, 'connect ECONNREFUSED')
    now += 400

    expect(breaker.waitMs).to.equal(600)
    expect(breaker.lastError?.message).to.equal('connect ECONNREFUSED')
  })

  it('is opened at once by an answer that is wrong', () => {
    breaker.trip(new Error('calls EICAR clean'))

    expect(breaker.state).to.equal('open')
    expect(breaker.waitMs).to.equal(1_000)
  })

  it('throws at whoever begins although it is open', () => {
    fail(3)

    expect(() => breaker.begin()).to.throw('lets nothing through')
  })

  describe('after its time', () => {
    beforeEach(() => {
      fail(3)
      now += 1_000
    })

    it('is half-open and lets one through at a time', () => {
      expect(breaker.state).to.equal('half-open')
      const trial = breaker.begin()
      const during = breaker.free
      trial.succeeded()

      expect([during, breaker.free]).to.deep.equal([false, true])
    })

    it('may serve as soon as one try has gone well', () => {
      const before = breaker.usable
      succeed()

      expect([before, breaker.usable, breaker.state]).to.deep.equal([false, true, 'half-open'])
    })

    it('closes after so many successes', () => {
      succeed(2)

      expect(breaker.state).to.equal('closed')
      expect(breaker.lastError).to.equal(undefined)
    })

    it('opens again at the first failure, for the whole time', () => {
      succeed()
      fail()
      now += 999

      expect(breaker.state).to.equal('open')
      now += 1
      expect(breaker.state).to.equal('half-open')
      expect(breaker.usable).to.equal(false)
    })

    it('lets the next one try when a try was dropped', () => {
      breaker.begin().dropped()

      expect(breaker.free).to.equal(true)
      expect(breaker.usable).to.equal(false)
    })

    it('needs as many failures as ever once it is closed', () => {
      succeed(2)
      fail(2)

      expect(breaker.state).to.equal('closed')
    })
  })

  describe('what began before it opened', () => {
    it('neither closes it nor prolongs its time', () => {
      const [good, bad] = [breaker.begin(), breaker.begin()]
      fail(3)
      now += 500
      good.succeeded()
      bad.failed(new Error('late'))

      expect(breaker.waitMs).to.equal(500)
    })

    it('does not decide about a try of the half-open state', () => {
      const [good, bad] = [breaker.begin(), breaker.begin()]
      fail(3)
      now += 1_000
      const trial = breaker.begin()
      good.succeeded()
      bad.failed(new Error('late'))
      const during = { free: breaker.free, state: breaker.state, usable: breaker.usable }
      trial.succeeded()

      expect(during).to.deep.equal({ free: false, state: 'half-open', usable: false })
      expect(breaker.usable).to.equal(true)
    })
  })
})
