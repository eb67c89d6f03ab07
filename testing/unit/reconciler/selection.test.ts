import { expect } from 'chai'
import { isCandidate, whyWanted } from '../../../services/reconciler/selection.ts'
import type { Proven } from '../../../services/shared/proven.ts'

const noon = new Date('2026-11-21T12:00:00Z')
const proven = (tag: string, reason = 0, signatureVersion = '100', first = noon): Proven => ({
  tag,
  reason,
  signatureVersion,
  judgedAt: noon,
  firstJudgedAt: first,
  event: '',
  content: '',
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

describe('the window of a re-scan', () => {
  const rescan = { kind: 'rescan', signatureVersion: '101', since: noon.toISOString() } as const

  it('goes by the first judgement of the bytes, and not by that of the last re-scan', () => {
    const [inside, before] = [noon, new Date(noon.getTime() - 1)].map((first) =>
      whyWanted(proven('clean', 0, '100', first), rescan, { deletes: true }),
    )

    expect(inside).to.equal('signatures')
    expect(before).to.equal(undefined)
  })
})

describe('a sweep after something that events may not have told', () => {
  const soon = new Date(noon.getTime() + 1).toISOString()

  it('wants what was judged before, whatever was proven', () => {
    for (const tag of ['clean', 'no', 'infected'])
      expect(whyWanted(proven(tag), { kind: 'sweep', after: soon }, { deletes: false })).to.equal(
        'unproven',
      )
  })

  it('wants nothing that was judged since', () => {
    expect(
      whyWanted(proven('clean'), { kind: 'sweep', after: noon.toISOString() }, { deletes: true }),
    ).to.equal(undefined)
  })
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
      expect(isCandidate(found, { kind: 'sweep' })).to.equal(looks)
    })
  }

  it('nothing older than the time that it begins from, to the second', () => {
    const [at, before] = ['2026-11-21T07:00:00Z', '2026-11-21T06:59:59.999Z'].map((time) =>
      isCandidate(version({ lastModified: new Date(time) }), { kind: 'sweep', since }),
    )

    expect(at).to.equal(true)
    expect(before).to.equal(false)
  })

  it('everything in a re-scan, for an uploader chooses the date that the store tells', () => {
    const old = version({ lastModified: new Date(0) })

    expect(isCandidate(old, { kind: 'rescan', since })).to.equal(true)
  })
})
