// The proof tag: only who holds the key can write it, and it holds for exactly one version and verdict.
import { expect } from 'chai'
import {
  contentOf,
  judgedTime,
  proofVersion,
  readProof,
  writeProof,
  type Proof,
  type ProvenFacts,
} from '../../../services/shared/proof.ts'

const key = 'k'.repeat(32)
const facts: ProvenFacts = {
  bucket: 'uploads',
  key: 'a b/ä.txt',
  versionId: 'v1',
  etag: 'e1',
  lastModified: new Date('2026-11-21T04:00:00.000Z'),
  size: 7,
  verdict: 'clean',
}
const proven: Proof = {
  reason: 0,
  signatureVersion: '27800',
  judgedAt: new Date('2026-11-21T04:00:02.345Z'),
  firstJudgedAt: new Date('2026-11-20T04:00:02.345Z'),
  event: '187A1B2C3D4E5F60',
  content: 'LPJNul-wow4m6Dsq',
}

describe('writeProof and readProof', () => {
  it('reads back what was concluded, and when', () => {
    const said = { ...proven, reason: 101 }
    const proof = writeProof({ ...facts, verdict: 'no' }, said, key)

    expect(readProof(proof, { ...facts, verdict: 'no' }, [key])).to.deep.equal(said)
  })

  it('writes the same proof in every version to come', () => {
    expect(writeProof(facts, proven, key)).to.equal(
      '2.0.27800.20261121T040002345Z.20261120T040002345Z.187A1B2C3D4E5F60.LPJNul-wow4m6Dsq.7HnUZWjHc_MaWDGlHQeAMR',
    )
  })

  for (const change of [
    { bucket: 'other' },
    { key: 'a b/a.txt' },
    { versionId: 'v2' },
    { versionId: undefined },
    { etag: 'e2' },
    { size: 8 },
    { verdict: 'infected' },
    { verdict: 'no' },
  ] satisfies Partial<ProvenFacts>[]) {
    it(`proves nothing about another ${JSON.stringify(change)}`, () => {
      expect(readProof(writeProof(facts, proven, key), { ...facts, ...change }, [key])).to.equal(
        undefined,
      )
    })
  }

  it('breaks when anything in it is edited', () => {
    const parts = writeProof(facts, proven, key).split('.')
    const mac = parts.at(-1) ?? ''
    const flipped = `${mac.startsWith('A') ? 'B' : 'A'}${mac.slice(1)}`

    for (const [index, value] of [
      [1, '101'],
      [2, '27801'],
      [3, '20271121T040002345Z'],
      [4, '20271120T040002345Z'],
      [5, '187A1B2C3D4E5F61'],
      [6, 'LPJNul-wow4m6Dsr'],
      [7, flipped],
    ] as const) {
      const edited = parts.with(index, value).join('.')
      expect(readProof(edited, facts, [key]), edited).to.equal(undefined)
    }
  })

  it('does not count the proof of release 1.0, which names no time', () => {
    expect(readProof('1.0.27800.q5T69CI_m6EbvKEQ4DvKRK', facts, [key])).to.equal(undefined)
  })

  it('does not let bytes wander from one fact into the next', () => {
    const proof = writeProof({ ...facts, bucket: 'a', key: 'b","c' }, proven, key)

    expect(readProof(proof, { ...facts, bucket: 'a","b', key: 'c' }, [key])).to.equal(undefined)
  })

  it('holds for an object from before versioning, which the store calls null afterwards', () => {
    const proof = writeProof({ ...facts, versionId: undefined }, proven, key)

    expect(readProof(proof, { ...facts, versionId: 'null' }, [key])).not.to.equal(undefined)
  })

  for (const versionId of [undefined, 'null'])
    it(`tells uploads of the same bytes apart by their time where the version is ${versionId}`, () => {
      const overwritable = { ...facts, versionId }
      const later = { ...overwritable, lastModified: new Date('2026-11-21T04:00:01.000Z') }

      expect(readProof(writeProof(overwritable, proven, key), later, [key])).to.equal(undefined)
    })

  it('holds for a version that its store dates anew, as VersityGW does when the next one is put', () => {
    const later = { ...facts, lastModified: new Date('2026-11-21T04:00:07.000Z') }

    expect(readProof(writeProof(facts, proven, key), later, [key])).not.to.equal(undefined)
  })

  it('holds for a key as VersityGW lists it', () => {
    const proof = writeProof({ ...facts, key: 'a//b' }, proven, key)

    expect(readProof(proof, { ...facts, key: 'a/b' }, [key])).not.to.equal(undefined)
  })

  it('ignores milliseconds, which stores give in one answer and not in another', () => {
    const unversioned = { ...facts, versionId: undefined }
    const exact = { ...unversioned, lastModified: new Date('2026-11-21T04:00:00.789Z') }

    expect(readProof(writeProof(unversioned, proven, key), exact, [key])).not.to.equal(undefined)
  })

  it('still verifies by an old key, and not by a foreign one', () => {
    const proof = writeProof(facts, proven, 'o'.repeat(32))

    expect(readProof(proof, facts, [key, 'o'.repeat(32)])).not.to.equal(undefined)
    expect(readProof(proof, facts, [key])).to.equal(undefined)
    expect(readProof(proof, facts, [])).to.equal(undefined)
  })

  it('never verifies by an empty key, which everybody knows', () => {
    expect(readProof(writeProof(facts, proven, ''), facts, [key, ''])).to.equal(undefined)
  })

  const times = '20261121T040002345Z.20261120T040002345Z..'
  const mac = 'a'.repeat(22)
  for (const tag of [
    undefined,
    '',
    'clean',
    `2.0.27800.${times}.`,
    `1.0.27800.${times}.${mac}`,
    `2.0.27800.${times}.${mac.slice(1)}`,
    `2.0.27800.${times}.${mac}a`,
    `2.-1.27800.${times}.${mac}`,
    `2.0.27.800.${times}.${mac}`,
    `2.0.27800.20261399T040002345Z.20261120T040002345Z...${mac}`,
    `2.0.27800.${times}.${'ä'.repeat(22)}`,
    `2.0.27800.${times}.${mac}\n`,
  ]) {
    it(`takes ${JSON.stringify(tag)} for no proof`, () => {
      expect(readProof(tag, facts, [key])).to.equal(undefined)
    })
  }

  it('fits a tag value and its characters, whatever the signature version is', () => {
    const odd = `ClamAV 1.4.3/27800/Fri "daily" ä ${'x'.repeat(300)}`

    const proof = writeProof(facts, { ...proven, reason: 199, signatureVersion: odd }, key)

    expect(proof).to.match(/^[A-Za-z0-9._-]+$/)
    expect(proof.length).to.be.at.most(256)
    expect(readProof(proof, facts, [key])?.signatureVersion).to.equal(proofVersion(odd))
  })
})

describe('judgedTime', () => {
  it('is just before the second that the store names', () => {
    const judged = judgedTime(new Date('2026-11-21T04:00:02Z'))

    expect(judged.toISOString()).to.equal('2026-11-21T04:00:01.999Z')
  })
})

describe('contentOf', () => {
  it('is the beginning of the hash, in the characters of a proof', () => {
    const sha256 = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'

    expect(contentOf(sha256)).to.equal('LPJNul-wow4m6Dsq')
  })
})
