import { expect } from 'chai'
import { setImmediate as turn } from 'node:timers/promises'
import { NotBegunError } from '../../../services/shared/errors.ts'
import { Share } from '../../../services/avscan/share.ts'
import { rejection } from '../../support/rejection.ts'

const never = new AbortController().signal

/** Work that the test ends. */
function job() {
  const { promise, resolve } = Promise.withResolvers<void>()
  const one = {
    begun: false,
    end: () => resolve(),
    work: () => {
      one.begun = true
      return promise
    },
  }
  return one
}

/** Lets everything that can go on go on. */
async function settle(): Promise<void> {
  for (let round = 0; round < 5; round++) await turn()
}

describe('Share', () => {
  let now = 0
  const share = (concurrency = 2) => new Share({ concurrency, quietMs: 5, now: () => now })
  beforeEach(() => (now = 1_000_000))

  it('gives bulk work every place while there is no live work', async () => {
    const one = share(2)
    const jobs = [job(), job(), job()]
    const running = jobs.map(({ work }) => one.bulk(never, work))
    await settle()
    expect(jobs.map(({ begun }) => begun)).to.deep.equal([true, true, false])

    jobs[0]?.end()
    await settle()

    expect(jobs[2]?.begun).to.equal(true)
    for (const { end } of jobs) end()
    await Promise.all(running)
  })

  it('lets one bulk scan run beside live work that has places to spare', async () => {
    const one = share(3)
    const live = job()
    const running = [one.live(live.work)]
    const [first, second] = [job(), job()]
    running.push(one.bulk(never, first.work), one.bulk(never, second.work))
    await settle()

    expect([first.begun, second.begun]).to.deep.equal([true, false])
    for (const { end } of [live, first, second]) end()
    await Promise.all(running)
  })

  it('gives bulk work a twentieth of the time while live work takes every place', async () => {
    const one = share(2)
    let bulkMs = 0
    const end = new AbortController()
    const bulk = (async () => {
      while (!end.signal.aborted)
        await one.bulk(never, async () => {
          bulkMs += 10
          await settle()
        })
    })()
    // The next one begins before the last one ends, as with a backlog.
    let [older, newer] = [job(), job()]
    const running = [one.live(older.work), one.live(newer.work)]
    const begun = now
    for (let count = 0; count < 1000; count++) {
      now += 10
      const next = job()
      older.end()
      // Taken in the same turn in which the place becomes free.
      running.push(one.live(next.work))
      await settle()
      ;[older, newer] = [newer, next]
    }
    end.abort()
    const part = bulkMs / (now - begun)
    older.end()
    newer.end()
    now += 10_000
    await Promise.all([bulk, ...running])

    expect(part).to.be.within(0.03, 0.08)
  })

  it('gives up waiting when it is told to', async () => {
    const one = share(1)
    const live = job()
    const running = one.live(live.work)
    const stop = new AbortController()
    const waiting = rejection(one.bulk(stop.signal, job().work))

    stop.abort(new Error('shutdown'))

    expect(await waiting).to.be.an.instanceOf(NotBegunError)
    live.end()
    await running
  })
})
