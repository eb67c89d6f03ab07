// Where the record of a verdict lies, and when a proof counts.
import { expect } from 'chai'
import { recordKey, stands, type Proven } from '../../../services/shared/proven.ts'

const facts = { size: 1, etag: 'e', versionId: 'v', lastModified: new Date(0), tagCount: 0 }
const object = { bucket: 'b', key: 'k', facts }

describe('recordKey', () => {
  for (const [what, other] of [
    ['key', { ...object, key: 'l' }],
    ['bucket', { ...object, bucket: 'c' }],
    ['version', { ...object, facts: { ...facts, versionId: 'w' } }],
    ['etag', { ...object, facts: { ...facts, etag: 'f' } }],
  ] as const)
    it(`names a place of its own for another ${what}`, () => {
      expect(recordKey(other)).not.to.equal(recordKey(object))
    })

  it('names another for the next upload where it overwrites, and the same for a later date of a version', () => {
    const later = { lastModified: new Date(5000) }
    const [first, next] = ['null', undefined].map((versionId) => ({
      ...object,
      facts: { ...facts, versionId },
    }))

    expect(recordKey({ ...object, facts: { ...facts, ...later } })).to.equal(recordKey(object))
    for (const place of [first, next])
      if (place !== undefined)
        expect(recordKey({ ...place, facts: { ...place.facts, ...later } })).not.to.equal(
          recordKey(place),
        )
  })
})

describe('stands', () => {
  const judgedAt = new Date('2026-11-21T12:00:00Z')
  const proven: Proven = {
    tag: 'clean',
    reason: 0,
    signatureVersion: '1',
    judgedAt,
    firstJudgedAt: judgedAt,
    event: 'A1',
    content: '',
  }
  const after = (ms: number) => new Date(judgedAt.getTime() + ms)

  for (const [what, write, expected] of [
    ['nothing is known to have been written', {}, true],
    ['it was written before', { after: after(-1) }, true],
    ['it was written in that very moment', { after: after(0) }, true],
    ['it was written since', { after: after(1) }, false],
    ['the proof was made for that event', { after: after(1), event: 'A1' }, true],
    ['it was made for another one', { after: after(1), event: 'A2' }, false],
  ] as const)
    it(`${expected ? 'counts' : 'does not count'} where ${what}`, () => {
      expect(stands(proven, write)).to.equal(expected)
    })

  it('needs a proof', () => {
    expect(stands(undefined, {})).to.equal(false)
  })

  it('is not fooled by a proof without an event', () => {
    expect(stands({ ...proven, event: '' }, { after: after(1), event: undefined })).to.equal(false)
  })
})
