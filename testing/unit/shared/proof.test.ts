// The proof tag: only who holds the key can write it, and it holds for exactly one version and verdict.
import { expect } from 'chai'
import {
  proofVersion,
  readProof,
  writeProof,
  type ProvenFacts,
} from '../../../services/shared/proof.ts'

const key = 'k'.repeat(32)
const facts: ProvenFacts = {
  bucket: 'uploads',
  key: 'a b/ä.txt',
  versionId: 'v1',
  etag: 'e1',
  lastModified: new Date('2026-11-21T04:00:00.000Z'),
  verdict: 'clean',
  reason: 0,
  signatureVersion: '27800',
}

describe('writeProof and readProof', () => {
  it('reads back reason and signature version', () => {
    const proof = writeProof({ ...facts, verdict: 'no', reason: 101 }, key)

    expect(readProof(proof, { ...facts, verdict: 'no' }, [key])).to.deep.equal({
      reason: 101,
      signatureVersion: '27800',
    })
  })

  it('writes the same proof in every version to come', () => {
    expect(writeProof(facts, key)).to.equal('1.0.27800.q5T69CI_m6EbvKEQ4DvKRK')
  })

  for (const change of [
    { bucket: 'other' },
    { key: 'a b/a.txt' },
    { versionId: 'v2' },
    { versionId: undefined },
    { etag: 'e2' },
    { verdict: 'infected' },
    { verdict: 'no' },
  ] satisfies Partial<ProvenFacts>[]) {
    it(`proves nothing about another ${JSON.stringify(change)}`, () => {
      expect(readProof(writeProof(facts, key), { ...facts, ...change }, [key])).to.equal(undefined)
    })
  }

  it('breaks when reason, signature version or mac are edited', () => {
    const proof = writeProof(facts, key)
    const [, , , mac = ''] = proof.split('.')
    const flipped = `${mac.startsWith('A') ? 'B' : 'A'}${mac.slice(1)}`

    for (const edited of [`1.101.27800.${mac}`, `1.0.27801.${mac}`, `1.0.27800.${flipped}`])
      expect(readProof(edited, facts, [key]), edited).to.equal(undefined)
  })

  it('does not let bytes wander from one fact into the next', () => {
    const proof = writeProof({ ...facts, bucket: 'a', key: 'b","c' }, key)

    expect(readProof(proof, { ...facts, bucket: 'a","b', key: 'c' }, [key])).to.equal(undefined)
  })

  it('tells a version that is called null from one that is missing', () => {
    const proof = writeProof({ ...facts, versionId: 'null' }, key)

    expect(readProof(proof, { ...facts, versionId: undefined }, [key])).to.equal(undefined)
  })

  it('tells uploads of the same bytes apart by their time where there are no versions', () => {
    const unversioned = { ...facts, versionId: undefined }
    const later = { ...unversioned, lastModified: new Date('2026-11-21T04:00:01.000Z') }

    expect(readProof(writeProof(unversioned, key), later, [key])).to.equal(undefined)
  })

  it('holds for a version that its store dates anew, as VersityGW does when the next one is put', () => {
    const later = { ...facts, lastModified: new Date('2026-11-21T04:00:07.000Z') }

    expect(readProof(writeProof(facts, key), later, [key])).not.to.equal(undefined)
  })

  it('holds for a key as VersityGW lists it', () => {
    const proof = writeProof({ ...facts, key: 'a//b' }, key)

    expect(readProof(proof, { ...facts, key: 'a/b' }, [key])).not.to.equal(undefined)
  })

  it('ignores milliseconds, which stores give in one answer and not in another', () => {
    const unversioned = { ...facts, versionId: undefined }
    const exact = { ...unversioned, lastModified: new Date('2026-11-21T04:00:00.789Z') }

    expect(readProof(writeProof(unversioned, key), exact, [key])).not.to.equal(undefined)
  })

  it('still verifies by an old key, and not by a foreign one', () => {
    const proof = writeProof(facts, 'o'.repeat(32))

    expect(readProof(proof, facts, [key, 'o'.repeat(32)])).not.to.equal(undefined)
    expect(readProof(proof, facts, [key])).to.equal(undefined)
    expect(readProof(proof, facts, [])).to.equal(undefined)
  })

  it('never verifies by an empty key, which everybody knows', () => {
    expect(readProof(writeProof(facts, ''), facts, [key, ''])).to.equal(undefined)
  })

  for (const tag of [
    undefined,
    '',
    'clean',
    '1.0.27800.',
    '2.0.27800.aaaaaaaaaaaaaaaaaaaaaa',
    '1.0.27800.aaaaaaaaaaaaaaaaaaaaa',
    '1.0.27800.aaaaaaaaaaaaaaaaaaaaaaa',
    '1.-1.27800.aaaaaaaaaaaaaaaaaaaaaa',
    '1.0.27.800.aaaaaaaaaaaaaaaaaaaaaa',
    `1.0.27800.${'ä'.repeat(22)}`,
    '1.0.27800.aaaaaaaaaaaaaaaaaaaaaa\n',
  ]) {
    it(`takes ${JSON.stringify(tag)} for no proof`, () => {
      expect(readProof(tag, facts, [key])).to.equal(undefined)
    })
  }

  it('fits a tag value and its characters, whatever the signature version is', () => {
    const odd = `ClamAV 1.4.3/27800/Fri "daily" ä ${'x'.repeat(300)}`

    const proof = writeProof({ ...facts, reason: 199, signatureVersion: odd }, key)

    expect(proof).to.match(/^[A-Za-z0-9._-]+$/)
    expect(proof.length).to.be.at.most(256)
    expect(readProof(proof, facts, [key])?.signatureVersion).to.equal(proofVersion(odd))
  })
})
