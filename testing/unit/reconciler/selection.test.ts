import { expect } from 'chai'
import { isCandidate, whyWanted } from '../../../services/reconciler/selection.ts'
import type { Proven } from '../../../services/shared/proven.ts'

const proven = (tag: string, reason = 0, signatureVersion = '100'): Proven => ({
  tag,
  reason,
  signatureVersion,
})
const version = (more: object = {}) => ({
  key: 'a',
  versionId: 'v',
  etag: 'e',
  lastModified: new Date('2026-11-21T07:00:00Z'),
  size: 1,
  deleteMarker: false,
  ...more,
})

describe('what a sweep wants', () => {
  const sweep = { kind: 'sweep' } as const

  for (const [title, found, deletes, why] of [
    ['no proven verdict', undefined, true, 'unproven'],
    ['clean', proven('clean'), true, undefined],
    ['unscannable', proven('no', 107), true, undefined],
    ['too large', proven('no', 101), true, undefined],
    ['given up', proven('no', 199), true, 'unfinished'],
    ['passed on unscanned', proven('unscanned'), true, 'unfinished'],
    ['infected and still there', proven('infected'), true, 'undeleted'],
    ['infected, and nothing is deleted', proven('infected'), false, undefined],
  ] as const) {
    it(`${title}: ${why ?? 'nothing'}`, () => {
      expect(whyWanted(found, sweep, { deletes })).to.equal(why)
    })
  }
})

describe('what a re-scan wants', () => {
  const rescan = { kind: 'rescan', signatureVersion: '100' } as const

  for (const [title, found, why] of [
    ['no proven verdict: events and sweeps see to it', undefined, undefined],
    ['of these signatures', proven('clean', 0, '100'), undefined],
    ['of older ones', proven('clean', 0, '99'), 'signatures'],
    ['of newer ones, from a worker that is ahead', proven('clean', 0, '101'), undefined],
    ['of others that are no number', proven('clean', 0, 'abc'), 'signatures'],
    ['unscannable', proven('no', 107, '99'), 'signatures'],
    ['too large, whatever the signatures', proven('no', 101, 'none'), undefined],
  ] as const) {
    it(`${title}: ${why ?? 'nothing'}`, () => {
      expect(whyWanted(found, rescan, { deletes: true })).to.equal(why)
    })
  }
})

describe('what a sweep looks at', () => {
  const since = '2026-11-21T07:00:00.900Z'

  for (const [title, found, looks] of [
    ['a version', version(), true],
    ['a delete marker', version({ deleteMarker: true }), false],
    ['a folder', version({ key: 'a/', size: 0 }), false],
    ['a key like a folder with a body', version({ key: 'a/' }), true],
    ['an empty object', version({ size: 0 }), true],
  ] as const) {
    it(`${title}: ${looks ? 'yes' : 'no'}`, () => {
      expect(isCandidate(found, {})).to.equal(looks)
    })
  }

  it('nothing older than the time that it begins from, to the second', () => {
    const [at, before] = ['2026-11-21T07:00:00Z', '2026-11-21T06:59:59.999Z'].map((time) =>
      isCandidate(version({ lastModified: new Date(time) }), { since }),
    )

    expect(at).to.equal(true)
    expect(before).to.equal(false)
  })
})
