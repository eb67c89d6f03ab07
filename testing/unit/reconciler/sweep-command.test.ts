import { expect } from 'chai'
import { renderDraining, renderSweep } from '../../../services/reconciler/sweep-command.ts'
import { createRate, readFacts } from '../../../services/reconciler/sweep-watch.ts'

const ours = { id: 'i', running: true, seen: 5000, queued: 4990 }

describe('renderSweep', () => {
  it('shows objects seen and queued, the rate, and when it ends where the number is known', () => {
    expect(renderSweep(ours, undefined)).to.equal('5,000 objects seen, 4,990 queued')
    expect(renderSweep({ ...ours, rate: 250.4, total: 20_000 }, undefined)).to.equal(
      '5,000 of about 20,000 objects seen, 4,990 queued, 250/s, 59s to go',
    )
  })

  it('foretells no end when the bucket has grown since the last sweep', () => {
    expect(renderSweep({ ...ours, rate: 100, total: 4000 }, undefined)).to.equal(
      '5,000 objects seen, 4,990 queued, 100/s',
    )
  })

  it('says why it does not go on', () => {
    expect(renderSweep({ ...ours, paused: 'jobs wait\u001b' }, undefined)).to.equal(
      String.raw`5,000 objects seen, 4,990 queued; waits: jobs wait\u001b`,
    )
  })

  it('says when another one is at work although this one has begun', () => {
    const gap = { id: 'gap', running: true, seen: 3000, queued: 1, rate: 16.3 }

    expect(renderSweep({ ...ours, rate: 0 }, gap)).to.equal(
      'another sweep goes first, 3,000 objects seen',
    )
    expect(renderSweep({ ...ours, rate: 10 }, { ...gap, rate: 0 })).to.match(/^5,000 objects/)
  })

  it('says what it waits for before it has begun', () => {
    expect(renderSweep(undefined, undefined)).to.equal('waiting for the reconciler to begin')
    expect(renderSweep({ ...ours, running: false }, { ...ours, id: 'other' })).to.equal(
      'another sweep goes first, 5,000 objects seen',
    )
  })
})

describe('renderDraining', () => {
  it('shows rate and end only while the queue gets shorter', () => {
    expect(renderDraining(1000, 0)).to.equal('all objects seen; 1,000 wait to be scanned')
    expect(renderDraining(1000, 10)).to.equal(
      'all objects seen; 1,000 wait to be scanned, 10/s, 1m to go',
    )
  })
})

describe('readFacts', () => {
  it('finds the sweep that was asked for among all, and another that is at work', () => {
    const other = { id: 'o', running: true, seen: 1, queued: 0 }
    const mine = { id: 'i', running: false, seen: 0, queued: 0 }

    expect(readFacts({ sweep: other, sweeps: [mine, other] }, 'i')).to.deep.equal({
      ours: mine,
      other,
    })
  })

  it('bears an answer without sweeps', () => {
    const nothing = { ours: undefined, other: undefined }
    for (const answer of [{}, { sweep: null, sweeps: 'x' }, { sweep: 5 }, { sweeps: [null, {}] }])
      expect(readFacts(answer, 'i'), JSON.stringify(answer)).to.deep.equal(nothing)
  })
})

describe('createRate', () => {
  it('is the change per second over the last readings', () => {
    let at = 0
    const rate = createRate(() => at)

    expect(rate(100)).to.equal(0)
    at = 2000
    expect(rate(80)).to.equal(-10)
    for (let reading = 0; reading < 30; reading++) {
      at += 1000
      rate(80)
    }
    expect(rate(80)).to.equal(0)
  })
})
