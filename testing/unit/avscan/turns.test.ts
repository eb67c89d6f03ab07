// Turns: who may start a scan, who waits, who gives way.
import { expect } from 'chai'
import { setTimeout as sleep } from 'node:timers/promises'
import { Turns, type Claim } from '../../../services/avscan/turns.ts'
import { GiveWayError } from '../../../services/shared/errors.ts'

const never = new AbortController().signal
const live = (uploader?: string): Claim => ({ lane: 'live', uploader })
const bulk = (uploader?: string): Claim => ({ lane: 'bulk', uploader })
const turnsWith = ({ places = 2, reserved = 2, stalledMs = 30 } = {}) =>
  new Turns({ places: () => places, reserved, stalledMs })
const outcome = (turn: Promise<unknown>) =>
  turn.then(
    () => 'turn',
    (error: unknown) => (error instanceof Error ? error.name : 'thrown'),
  )
const stillWaits = async (turn: Promise<unknown>) =>
  (await Promise.race([outcome(turn), sleep(5, 'waits')])) === 'waits'

describe('Turns', () => {
  it('lets anybody start while the engine has places', async () => {
    const turns = turnsWith()
    await turns.take(live('a'), never)
    await turns.take(bulk(), never)
    expect(await stillWaits(turns.take(bulk('b'), never))).to.equal(true)
  })

  it('keeps places for uploaders who have none running, one each', async () => {
    const turns = turnsWith({ stalledMs: 1e6 })
    await turns.take(live('bombs'), never)
    await turns.take(live('bombs'), never)
    expect(await stillWaits(turns.take(live('bombs'), never))).to.equal(true)
    const back = await turns.take(live('other'), never)
    const second = turns.take(live('other'), never)
    expect(await stillWaits(second)).to.equal(true)
    back()
    expect(await outcome(second)).to.equal('turn')
    expect(await outcome(turns.take(live('third'), never))).to.equal('turn')
    expect(await stillWaits(turns.take(live('fourth'), never))).to.equal(true)
  })

  it('counts what an uploader has in the bulk lane as its own', async () => {
    const turns = turnsWith({ stalledMs: 1e6 })
    await turns.take(bulk('bombs'), never)
    await turns.take(bulk('bombs'), never)
    expect(await stillWaits(turns.take(live('bombs'), never))).to.equal(true)
    expect(await outcome(turns.take(live('other'), never))).to.equal('turn')
  })

  it('sends to the bulk lane whose own scans do not end: those that wait, and at once those that come', async () => {
    const turns = turnsWith()
    await turns.take(live('bombs'), never)
    await turns.take(live('bombs'), never)
    expect(await outcome(turns.take(live('bombs'), never))).to.equal('GiveWayError')
    expect(() => turns.check(live('bombs'))).to.throw(GiveWayError)
    expect(() => turns.check(live('other'))).not.to.throw()
    expect(() => turns.check(bulk('bombs'))).not.to.throw()
  })

  it('sends nobody to the bulk lane for what others do: who has none running waits while reserved places come free', async () => {
    const turns = turnsWith({ reserved: 1, stalledMs: 30 })
    await turns.take(live('bombs'), never)
    await turns.take(live('bombs'), never)
    await sleep(40)
    const first = await turns.take(live('first'), never)
    expect(() => turns.check(live('second'))).not.to.throw()
    const second = turns.take(live('second'), never)
    expect(await stillWaits(second)).to.equal(true)
    first()
    expect(await outcome(second)).to.equal('turn')
    // Its place does not come free any more.
    expect(await outcome(turns.take(live('third'), never))).to.equal('GiveWayError')
  })

  it('sends to the bulk lane who would wait long behind scans of its own uploader, though they end', async () => {
    const turns = new Turns({ places: () => 1, reserved: 0, stalledMs: 1e6, ownMs: 40 })
    let back = await turns.take(live('zips'), never)
    const waiting = [turns.take(live('zips'), never), turns.take(live('zips'), never)]
    for (const turn of waiting) {
      await sleep(60)
      back()
      back = await turn
    }
    const next = turns.take(live('zips'), never)
    const one = turns.take(live('zips'), never)
    const two = turns.take(live('zips'), never)
    expect(await outcome(two)).to.equal('GiveWayError')
    expect(await stillWaits(next)).to.equal(true)
    back()
    expect(await outcome(next)).to.equal('turn')
    void one.catch(() => undefined)
  })

  it('lets wait whose scans do end', async () => {
    const turns = turnsWith({ stalledMs: 60 })
    const back: (() => void)[] = []
    const take = async () => back.push(await turns.take(live('busy'), never))
    const all = Array.from({ length: 8 }, take)
    for (let ended = 0; ended < 8; ended++) {
      await sleep(20)
      back.shift()?.()
    }
    expect(await outcome(Promise.all(all))).to.equal('turn')
  })

  it('gives no reserved place to a job that tells no uploader, and none of its own time either', async () => {
    const turns = turnsWith()
    await turns.take(live('bombs'), never)
    await turns.take(live('bombs'), never)
    // Somebody else's work goes on all the time and frees nothing that these may have.
    const runOther = async () => (await turns.take(live('other'), never))()
    const others = setInterval(() => void runOther(), 3)
    expect(await outcome(turns.take(live(), never))).to.equal('GiveWayError')
    expect(() => turns.check(live())).to.throw(GiveWayError)
    clearInterval(others)
  })

  it('starts live ones before bulk ones, and in order', async () => {
    const turns = turnsWith({ places: 1, stalledMs: 1e6, reserved: 0 })
    const back = await turns.take(bulk(), never)
    const order: string[] = []
    const run = async (name: string, claim: Claim) => {
      const again = await turns.take(claim, never)
      order.push(name)
      again()
    }
    const all = [run('bulk', bulk()), run('one', live('a')), run('two', live('b'))]
    back()
    await Promise.all(all)
    expect(order).to.deep.equal(['one', 'two', 'bulk'])
  })

  it('ends the waiting with the signal, and a turn is given back once only', async () => {
    const turns = turnsWith({ places: 1, stalledMs: 1e6 })
    const back = await turns.take(live('a'), never)
    const stop = new AbortController()
    const waiting = turns.take(live('a'), stop.signal)
    stop.abort(new Error('stopped'))
    expect(await waiting.catch((error: Error) => error.message)).to.equal('stopped')
    back()
    back()
    await turns.take(live('a'), never)
    expect(await stillWaits(turns.take(live('a'), never))).to.equal(true)
  })
})
