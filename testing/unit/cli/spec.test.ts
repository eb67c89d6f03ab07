import { expect } from 'chai'
import { diffSpecs, type ChildSpec } from '../../../services/cli/spec.ts'
import { restartDelayMs } from '../../../services/cli/child.ts'

const child = (name: string, env: Record<string, string> = {}): ChildSpec => ({
  name,
  command: ['true'],
  env,
  cwd: '/',
  ready: { kind: 'none' },
  readyTimeoutMs: 1000,
  stopTimeoutMs: 1000,
})
const names = (children: ChildSpec[]) => children.map(({ name }) => name)

describe('diffSpecs', () => {
  it('changes nothing between equal specs', () => {
    const change = diffSpecs([child('a'), child('b')], [child('a'), child('b')])

    expect([change.stop, change.start]).to.deep.equal([[], []])
    expect(names(change.keep)).to.deep.equal(['a', 'b'])
  })

  it('starts what is new in the order of the spec', () => {
    expect(
      names(diffSpecs([child('a')], [child('a'), child('b'), child('c')]).start),
    ).to.deep.equal(['b', 'c'])
  })

  it('stops what is gone, the last one first', () => {
    expect(names(diffSpecs([child('a'), child('b'), child('c')], [child('a')]).stop)).to.deep.equal(
      ['c', 'b'],
    )
  })

  it('restarts a child whose environment changed, and only that one', () => {
    const change = diffSpecs(
      [child('a'), child('b', { SCALE: '1' })],
      [child('a'), child('b', { SCALE: '2' })],
    )

    expect(names(change.stop)).to.deep.equal(['b'])
    expect(names(change.start)).to.deep.equal(['b'])
    expect(names(change.keep)).to.deep.equal(['a'])
  })
})

describe('restartDelayMs', () => {
  it('doubles from 200 ms to at most 15 s', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 9].map(restartDelayMs)).to.deep.equal([
      200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000,
    ])
  })
})
