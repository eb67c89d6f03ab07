import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { Alike } from '../../../services/avscan/alike.ts'
import { GiveWayError } from '../../../services/shared/errors.ts'

const object = { bucket: 'b', key: 'k', etag: 'e' }
const idle = () => Promise.resolve()

describe('jobs that mean the same versions', () => {
  it('go one after another', async () => {
    const alike = new Alike()
    const order: string[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = alike.inTurn(object, 'bulk', async () => {
      await promise
      order.push('first')
    })
    const second = alike.inTurn(object, 'bulk', async () => {
      await idle()
      order.push('second')
    })
    resolve()
    await Promise.all([first, second])
    expect(order).to.deep.equal(['first', 'second'])
  })

  it('share a listing that began after they came, and no other', async () => {
    const alike = new Alike()
    let listings = 0
    const { promise, resolve } = Promise.withResolvers<number>()
    const begun = Promise.withResolvers<void>()
    const job = (list: () => Promise<number>) =>
      alike.inTurn<number>(object, 'bulk', async (shared) => {
        await shared(list)
      })
    const count = async () => ++listings
    const first = job(async () => {
      listings++
      begun.resolve()
      return promise
    })
    await begun.promise
    // The clock that tells who came first has a coarse step.
    await sleep(2)
    const others = [job(count), job(count), job(count)]
    await sleep(2)
    resolve(0)
    await Promise.all([first, ...others])
    expect(listings).to.equal(2)
    await job(count)
    expect(listings).to.equal(3)
  })

  it('go on after one that failed', async () => {
    const alike = new Alike()
    const first = alike.inTurn(object, 'live', () => Promise.reject(new Error('no')))
    const second = alike.inTurn(object, 'live', idle)
    const results = await Promise.allSettled([first, second])
    expect(results.map(({ status }) => status)).to.deep.equal(['rejected', 'fulfilled'])
  })

  it('give way when one waits already, so that others in the queue are seen', async () => {
    const alike = new Alike()
    const { promise, resolve } = Promise.withResolvers<void>()
    const two = [alike.inTurn(object, 'live', () => promise), alike.inTurn(object, 'live', idle)]
    const third = await alike.inTurn(object, 'live', idle).catch((error: unknown) => error)
    expect(third).to.be.instanceOf(GiveWayError)
    await alike.inTurn({ ...object, key: 'other' }, 'live', idle)
    resolve()
    await Promise.all(two)
    await alike.inTurn(object, 'live', idle)
  })

  it('give way when the one before them takes long', async () => {
    const alike = new Alike(5)
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = alike.inTurn(object, 'live', () => promise)
    const second = await alike.inTurn(object, 'live', idle).catch((error: unknown) => error)
    expect(second).to.be.instanceOf(GiveWayError)
    resolve()
    await first
    await alike.inTurn(object, 'live', idle)
  })

  it('do not wait for each other where the version is named', async () => {
    const alike = new Alike()
    const { promise, resolve } = Promise.withResolvers<void>()
    const named = { ...object, versionId: 'v' }
    const first = alike.inTurn(named, 'live', () => promise)
    await alike.inTurn(named, 'live', idle)
    resolve()
    await first
  })
})
