// How the receiver knows that entries are missing, and what of that outlives it.
import { expect } from 'chai'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createJobs } from '../../../services/store-audit/jobs.ts'
import { createPulse, pulseName } from '../../../services/store-audit/pulse.ts'
import { forgetState, openState } from '../../../services/store-audit/state.ts'
import type { Publication } from '../../../services/shared/broker.ts'
import { PublishError } from '../../../services/shared/errors.ts'
import { silentLog } from '../../../services/shared/log.ts'
import { decodeReconcileMessage } from '../../../services/shared/messages.ts'
import { eventually } from '../../support/eventually.ts'

describe('the audit receiver', () => {
  let folder: string
  let file: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'audit-'))
    file = join(folder, 'state.json')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const known = () => {
    openState(file).change({ backlog: 0 })
    return openState(file)
  }

  const minute = 60_000
  /** A pulse whose clock and calls the test makes. */
  const bench = (state = known(), queueSize = 1000) => {
    const gaps: string[] = []
    const calls: string[] = []
    let now = Date.parse('2026-11-26T00:00:00Z')
    let answers = true
    const pulse = createPulse({
      call: (id) => {
        if (answers) calls.push(id)
        return Promise.resolve(answers)
      },
      state,
      queueSize,
      intervalMs: minute,
      onGap: (after, reason) => gaps.push(`${after} ${reason}`),
      now: () => now,
    })
    return {
      pulse,
      gaps,
      pass: (ms: number) => (now += ms),
      answers: (does: boolean) => (answers = does),
      /** One round of the loop. */
      call: async () => {
        const controller = new AbortController()
        const loop = pulse.run(controller.signal)
        controller.abort()
        await loop
        return calls.at(-1) ?? ''
      },
      entry: (id: string) =>
        pulse.seen({
          api: 'HeadBucket',
          query: { [pulseName]: id },
          time: new Date(now).toISOString(),
        } as never),
    }
  }

  it('has everything judged again after a first start, and after the log was off', async () => {
    const { gaps, call, entry } = bench(openState(file))
    expect(entry(await call())).to.equal(true)
    entry(await call())
    expect(gaps).to.deep.equal(['2026-11-26T00:00:00.001Z the first entries of the audit log'])

    const again = bench(openState(file))
    again.entry(await again.call())
    expect(again.gaps).to.deep.equal([])

    forgetState(file)
    const off = bench(openState(file))
    off.entry(await off.call())
    expect(off.gaps).to.have.length(1)
  })

  it('knows its own calls from those of others', async () => {
    const { pulse, call, entry } = bench()
    const id = await call()

    expect(entry('another')).to.equal(false)
    expect(pulse.seen({ api: 'GetObject', query: { [pulseName]: id } } as never)).to.equal(false)
    expect(entry(id)).to.equal(true)
    expect(entry(id), 'a second time').to.equal(false)
  })

  it('misses an entry only when one that came well after it is there', async () => {
    const { gaps, call, entry, pass } = bench()
    await call()
    pass(minute)
    const second = await call()
    entry(second)
    expect(gaps, 'entries may come in another order').to.deep.equal([])
    pass(minute)
    pass(minute)
    entry(await call())
    expect(gaps).to.deep.equal(['2026-11-26T00:03:00.001Z the audit log has a gap'])
  })

  it('misses no entry of a call that the store has not answered', async () => {
    const { gaps, call, entry, pass, answers } = bench()
    answers(false)
    await call()
    pass(5 * minute)
    answers(true)
    entry(await call())
    expect(gaps).to.deep.equal([])
  })

  it('takes a backlog as long as the queue for one that was full, once it is worked off', async () => {
    for (const [length, count] of [
      [899, 0],
      [900, 1],
    ] as const) {
      const { pulse, gaps, call, entry, pass } = bench()
      const old = await call()
      for (let index = 0; index < length; index++) pulse.batch()
      pass(10 * minute)
      entry(old)
      expect(gaps, 'in the middle of it').to.have.length(0)
      entry(await call())
      expect(gaps, String(length)).to.have.length(count)
    }
  })

  it('remembers over a restart how long the backlog is already', async () => {
    const before = bench()
    before.pass(minute)
    for (let index = 0; index < 600; index++) before.pulse.batch()
    before.pass(minute)
    before.pulse.batch()

    const { pulse, gaps, call, entry } = bench(openState(file))
    for (let index = 0; index < 300; index++) pulse.batch()
    entry(await call())
    expect(gaps).to.have.length(1)
  })

  it('says that the log does not come, and that the store does not answer', async () => {
    const { pulse, call, pass, answers } = bench()
    await call()
    pass(2 * minute)
    expect(pulse.silence).to.equal(undefined)
    pass(minute)
    expect(pulse.silence).to.match(/audit log has not reached us since 2026-11-26T00:00:00/)
    answers(false)
    pass(3 * minute)
    pulse.batch()
    expect(pulse.silence).to.match(/has not answered our own calls/)
  })

  it('starts anew from a state that is no state', () => {
    writeFileSync(file, '{"backlog":"many"}')
    expect(openState(file).found).to.equal(false)
  })

  const asks = () => {
    const published: Publication[] = []
    let away = false
    const publisher = {
      publish: (one: Publication) => {
        if (away) return Promise.reject(new PublishError('away'))
        published.push(one)
        return Promise.resolve()
      },
    }
    const state = known()
    const jobs = createJobs({ publisher, state, log: silentLog, queue: 'q', sweepEveryMs: 50 })
    const afters = () =>
      published.map(({ body }) => {
        const message = decodeReconcileMessage(body)
        return message.type === 'sweep.requested' ? message.type : ''
      })
    return { jobs, state, published, afters, goAway: (is: boolean) => (away = is) }
  }

  describe('asking for a sweep', () => {
    it('keeps the wish until the broker has it, also over a restart', async () => {
      const { jobs, goAway } = asks()
      goAway(true)
      jobs.sweep('2026-11-26T00:00:01.000Z', 'why')
      expect(openState(file).current.pending).to.deep.equal({
        after: '2026-11-26T00:00:01.000Z',
        reason: 'why',
      })

      const controller = new AbortController()
      const loop = jobs.run(controller.signal)
      goAway(false)
      await eventually(() => expect(openState(file).current.pending).to.equal(undefined))
      controller.abort()
      await loop
    })

    it('makes one of many, and lets the latest stand', async () => {
      const { jobs, published, afters } = asks()
      for (const second of [3, 1, 2]) jobs.sweep(`2026-11-26T00:00:0${second}.000Z`, 'why')

      const controller = new AbortController()
      const loop = jobs.run(controller.signal)
      await eventually(() => expect(published).to.have.length(1))
      controller.abort()
      await loop
      expect(afters()).to.deep.equal(['sweep.requested'])
      expect(String(published[0]?.body)).to.include('"after":"2026-11-26T00:00:03.000Z"')
    })
  })
})
