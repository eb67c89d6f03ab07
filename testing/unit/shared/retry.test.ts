// Waiting for what is not there yet.
import { expect } from 'chai'
import { FatalError } from '../../../services/shared/errors.ts'
import { silentLog, type Log } from '../../../services/shared/log.ts'
import { backoffMs, waitUntilReady } from '../../../services/shared/retry.ts'
import { rejection } from '../../support/rejection.ts'

function recordingLog(lines: string[]): Log {
  const say = (level: string) => (message: unknown) => {
    lines.push(`${level} ${String(message)}`)
    return undefined as never
  }
  return { ...silentLog, info: say('info'), warn: say('warn') }
}

describe('backoffMs', () => {
  it('doubles from 250 ms and stays at 5 s', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 1000].map(backoffMs)).to.deep.equal([
      250, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000,
    ])
  })
})

describe('waitUntilReady', () => {
  it('says nothing when it is there at once', async () => {
    const lines: string[] = []

    const result = await waitUntilReady('the store', () => Promise.resolve(7), {
      log: recordingLog(lines),
      signal: new AbortController().signal,
    })

    expect(result).to.equal(7)
    expect(lines).to.deep.equal([])
  })

  it('says once that it waits and once that it is over, and hands on each reason', async () => {
    const lines: string[] = []
    const reasons: string[] = []
    const answers = [new Error('refused'), new Error('still starting'), undefined]

    await waitUntilReady(
      'the store',
      () => {
        const answer = answers.shift()
        return answer === undefined ? Promise.resolve() : Promise.reject(answer)
      },
      {
        log: recordingLog(lines),
        signal: new AbortController().signal,
        waiting: (reason) => reasons.push(reason.message),
      },
    )

    expect(lines).to.deep.equal(['warn waiting for the store', 'info the store is there'])
    expect(reasons).to.deep.equal(['refused', 'still starting'])
  })

  it('gives up at once on what only a person can mend', async () => {
    const fatal = new FatalError('wrong password', 'run init')

    const error = await rejection(
      waitUntilReady('the store', () => Promise.reject(fatal), {
        log: silentLog,
        signal: new AbortController().signal,
      }),
    )

    expect(error).to.equal(fatal)
  })

  it('ends in the middle of a wait when it is told to stop', async () => {
    const controller = new AbortController()

    const waiting = waitUntilReady('the store', () => Promise.reject(new Error('refused')), {
      log: silentLog,
      signal: controller.signal,
      waiting: () => controller.abort(new Error('stopped by SIGTERM')),
    })

    expect((await rejection(waiting)).name).to.be.oneOf(['AbortError', 'Error'])
    expect(controller.signal.aborted).to.equal(true)
  })
})
