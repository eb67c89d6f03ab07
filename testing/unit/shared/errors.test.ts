// Errors in one line, with their causes.
import { expect } from 'chai'
import {
  describeError,
  EngineUnavailableError,
  errorCode,
  NoSpaceError,
  OutageError,
  PublishError,
  StoreUnavailableError,
  toError,
} from '../../../services/shared/errors.ts'

const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:3310'), {
  code: 'ECONNREFUSED',
})

describe('describeError', () => {
  it('says the message and all causes, outermost first', () => {
    const error = new Error('scan b/k', {
      cause: new Error('connect to clamd', { cause: refused }),
    })

    expect(describeError(error)).to.equal(
      'scan b/k: connect to clamd: connect ECONNREFUSED 127.0.0.1:3310',
    )
  })

  it('does not repeat what a wrapper has said already', () => {
    expect(describeError(new Error(`get b/k: ${refused.message}`, { cause: refused }))).to.equal(
      'get b/k: connect ECONNREFUSED 127.0.0.1:3310',
    )
  })

  it('looks into the empty error of a host with several addresses', () => {
    const error = new Error('reach the store', {
      cause: new AggregateError([refused, new Error('connect ETIMEDOUT ::1:9000')], ''),
    })

    expect(describeError(error)).to.equal(
      'reach the store: connect ECONNREFUSED 127.0.0.1:3310, connect ETIMEDOUT ::1:9000',
    )
  })

  it('uses the name of an error that has no message', () => {
    expect(describeError(new RangeError(''))).to.equal('RangeError')
  })

  it('ends on causes that go round in a circle', () => {
    const error = new Error('a')
    error.cause = new Error('b', { cause: error })

    expect(describeError(error)).to.equal('a: b')
  })

  for (const [thrown, words] of [
    ['text', 'text'],
    [42, '42'],
    [undefined, ''],
    [null, ''],
  ] as const) {
    it(`copes with ${String(thrown)} being thrown`, () => {
      expect(describeError(thrown)).to.equal(words)
      expect(toError(thrown)).to.be.instanceOf(Error)
    })
  }
})

describe('errorCode', () => {
  it('finds the code of a cause', () => {
    expect(errorCode(new Error('outer', { cause: refused }))).to.equal('ECONNREFUSED')
  })

  it('knows none where there is none, or only a number', () => {
    expect(errorCode(new Error('plain'))).to.equal(undefined)
    expect(errorCode(Object.assign(new Error('channel'), { code: 404 }))).to.equal(undefined)
    expect(errorCode('text')).to.equal(undefined)
  })

  it('finds the code of an error with several addresses', () => {
    expect(errorCode(new Error('x', { cause: new AggregateError([refused], '') }))).to.equal(
      'ECONNREFUSED',
    )
  })
})

describe('outages', () => {
  for (const error of [
    new EngineUnavailableError('x'),
    new StoreUnavailableError('x'),
    new NoSpaceError('x', 1),
    new PublishError('x'),
  ]) {
    it(`counts ${error.name} among them`, () => {
      expect(error).to.be.instanceOf(OutageError)
    })
  }
})
