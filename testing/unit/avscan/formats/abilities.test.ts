import { expect } from 'chai'
import { gunzipSync } from 'node:zlib'
import { Abilities } from '../../../../services/avscan/formats/abilities.ts'
import { everydayKinds } from '../../../../services/avscan/formats/fixtures.ts'
import type { EngineInfo } from '../../../../services/avscan/engines/engine.ts'
import { silentLog } from '../../../../services/shared/log.ts'
import { RetryLaterError } from '../../../../services/shared/errors.ts'
import { eicar } from '../../../../services/shared/test-signatures.ts'
import { fakeEngine, type FakeEngine } from '../../../support/fake-engine.ts'
import { rejection } from '../../../support/rejection.ts'

const never = new AbortController().signal

/** Opens gzip and nothing else. */
function engineOf(name = 'fake'): FakeEngine {
  const engine = fakeEngine(name)
  engine.judge = (bytes) => {
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 8
    const found = isGzip && gunzipSync(bytes).equals(eicar())
    return found ? { status: 'infected', signature: 'Eicar' } : { status: 'clean' }
  }
  return engine
}

const by = (engine: FakeEngine) => ({ name: engine.name, info: engine.info as EngineInfo })

describe('Abilities', () => {
  it('says what the engine does not open', async () => {
    const engine = engineOf()
    const abilities = new Abilities([engine], silentLog)

    const unopened = await abilities.unopened(by(engine), ['gzip', 'xz'], never)

    expect([...unopened]).to.deep.equal(['xz'])
  })

  it('asks once for each version and signature set', async () => {
    const engine = engineOf()
    const abilities = new Abilities([engine], silentLog)
    const asked = async () => {
      await Promise.all([
        abilities.unopened(by(engine), ['gzip', 'xz'], never),
        abilities.unopened(by(engine), ['gzip', 'xz'], never),
      ])
      await abilities.unopened(by(engine), ['gzip'], never)
      return engine.scanned.length
    }

    expect(await asked()).to.equal(2)
    Object.assign(engine, { info: { ...engine.info, signatureVersion: '27801' } })
    expect(await asked()).to.equal(4)
    Object.assign(engine, { info: { ...engine.info, engineVersion: '1.1' } })
    expect(await asked()).to.equal(6)
  })

  it('never counts what has no fixture as opened', async () => {
    const engine = engineOf()
    engine.judge = () => ({ status: 'infected', signature: 'Everything' })
    const abilities = new Abilities([engine], silentLog)

    const unopened = await abilities.unopened(by(engine), ['zip:method 95'], never)

    expect([...unopened]).to.deep.equal(['zip:method 95'])
    expect(engine.scanned).to.deep.equal([])
  })

  it('asks the engine that gave the finding, not its fallback', async () => {
    const [first, second] = [engineOf('clamd'), engineOf('clamav-rest')]
    first.judge = () => ({ status: 'clean' })
    const abilities = new Abilities([first, second], silentLog)

    expect([...(await abilities.unopened(by(first), ['gzip'], never))]).to.deep.equal(['gzip'])
    expect([...(await abilities.unopened(by(second), ['gzip'], never))]).to.deep.equal([])
  })

  it('takes no answer of another version for an answer', async () => {
    const engine = engineOf()
    const before = by(engine)
    Object.assign(engine, { info: { ...engine.info, engineVersion: '2.0' } })
    const abilities = new Abilities([engine], silentLog)

    const error = await rejection(abilities.unopened(before, ['gzip'], never))

    expect(error).to.be.instanceOf(RetryLaterError)
  })

  it('files an answer under the version that gave it, whatever the engine is by then', async () => {
    const engine = engineOf()
    const before = by(engine)
    const { judge } = engine
    engine.judge = (bytes) => {
      Object.assign(engine, { info: { ...engine.info, engineVersion: '2.0' } })
      return judge(bytes)
    }
    const abilities = new Abilities([engine], silentLog)

    expect([...(await abilities.unopened(before, ['gzip'], never))]).to.deep.equal([])
    expect(engine.scanned).to.have.length(1)
  })

  it('lets a failed scan of a fixture rise, and asks again', async () => {
    const engine = engineOf()
    const { judge } = engine
    engine.judge = () => {
      throw new Error('engine says nonsense')
    }
    const abilities = new Abilities([engine], silentLog)
    const error = await rejection(abilities.unopened(by(engine), ['gzip'], never))
    engine.judge = judge

    expect(error.message).to.equal('engine says nonsense')
    expect([...(await abilities.unopened(by(engine), ['gzip'], never))]).to.deep.equal([])
  })

  it('asks what is used every day ahead, one fixture after the other, and only once', async () => {
    const engine = engineOf()
    const abilities = new Abilities([engine], silentLog)

    await Promise.all([abilities.refresh(never), abilities.refresh(never)])
    await abilities.refresh(never)

    expect(engine.scanned).to.have.length(everydayKinds().length)
    expect(engine.mostAtATime).to.equal(1)
  })

  it('asks nothing ahead while something is scanned, and goes on when it is over', async () => {
    const engine = engineOf()
    let isBusy = true
    const abilities = new Abilities([engine], silentLog, () => isBusy)

    const asking = abilities.refresh(never)
    const unopened = await abilities.unopened(by(engine), ['gzip'], never)
    expect([[...unopened], engine.scanned.length]).to.deep.equal([[], 1])
    isBusy = false
    await asking

    expect(engine.scanned).to.have.length(everydayKinds().length)
  })

  it('does not fail when the engine cannot be asked ahead', async () => {
    const engine = engineOf()
    engine.judge = () => {
      throw new Error('away')
    }

    await new Abilities([engine], silentLog).refresh(never)
  })
})
