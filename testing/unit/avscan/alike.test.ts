import { expect } from 'chai'
import { Alike } from '../../../services/avscan/alike.ts'
import { GiveWayError } from '../../../services/shared/errors.ts'
import { nullVersion } from '../../../services/shared/messages.ts'
import { rejection } from '../../support/rejection.ts'

const object = { bucket: 'b', key: 'k', etag: 'e' }
const version = { ...object, versionId: 'v' }
const idle = () => Promise.resolve()

describe('jobs that mean the same versions', () => {
  it('share a listing that began after they came, and no other', async () => {
    const alike = new Alike<number>()
    let listings = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const list = async () => {
      const number = ++listings
      await promise
      return number
    }
    const first = alike.list(object, list)
    const others = [alike.list(object, list), alike.list(object, list), alike.list(object, list)]
    const ofOtherBytes = alike.list({ ...object, etag: 'other' }, list)
    resolve()

    expect(await first).to.equal(1)
    expect(await ofOtherBytes).to.equal(2)
    expect(await Promise.all(others)).to.deep.equal([3, 3, 3])
    expect(await alike.list(object, list)).to.equal(4)
  })

  it('list again after a listing that failed', async () => {
    const alike = new Alike<number>()
    const first = alike.list(object, () => Promise.reject(new Error('no')))
    const second = alike.list(object, () => Promise.resolve(2))

    expect((await rejection(first)).message).to.equal('no')
    expect(await second).to.equal(2)
    const third = alike.list(object, () => Promise.reject(new Error('no more')))
    expect((await rejection(third)).message).to.equal('no more')
    expect(await alike.list(object, () => Promise.resolve(4))).to.equal(4)
  })

  it('run side by side', async () => {
    const alike = new Alike<number>()
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = alike.run(object, 'bulk', () => promise)
    for (let count = 0; count < 5; count++) await alike.run(object, 'bulk', idle)
    resolve()
    await first
  })

  it('give way when two are in hand, so that others in the queue are seen', async () => {
    const alike = new Alike<number>()
    const { promise, resolve } = Promise.withResolvers<void>()
    const two = [alike.run(object, 'live', () => promise), alike.run(object, 'live', () => promise)]

    expect(await rejection(alike.run(object, 'live', idle))).to.be.instanceOf(GiveWayError)
    await alike.run({ ...object, key: 'other' }, 'live', idle)
    await alike.run({ ...object, etag: 'other' }, 'live', idle)
    await alike.run(version, 'live', idle)
    await alike.run(object, 'bulk', idle)
    resolve()
    await Promise.all(two)
    await alike.run(object, 'live', idle)
  })

  it('are in hand no longer when they fail', async () => {
    const alike = new Alike<number>()
    for (let count = 0; count < 3; count++) {
      const failing = alike.run(object, 'live', () => Promise.reject(new Error('no')))
      expect((await rejection(failing)).message).to.equal('no')
    }
    await alike.run(object, 'live', idle)
  })

  it('know what this process has told, and what it has only seen proven', () => {
    const alike = new Alike<number>()
    expect([alike.wasProven(version), alike.wasTold(version)]).to.deep.equal([false, false])
    alike.note(version, 'proven')
    expect([alike.wasProven(version), alike.wasTold(version)]).to.deep.equal([true, false])
    alike.note(version, 'told')
    alike.note(version, 'proven')
    expect([alike.wasProven(version), alike.wasTold(version)]).to.deep.equal([true, true])
  })

  it('know nothing of what can be overwritten', () => {
    const alike = new Alike<number>()
    for (const versionId of [nullVersion, undefined]) {
      alike.note({ ...object, versionId }, 'told')
      expect(alike.wasProven({ ...object, versionId })).to.equal(false)
    }
  })
})
