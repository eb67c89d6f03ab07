// The lines of clamd.conf without which clamd says OK to what it has not looked at.
import { expect } from 'chai'
import { defaultLimits } from '../../../services/avscan/formats/seen.ts'
import { clamdConf, maxScanBytes } from '../../../services/shared/clamd-conf.ts'

const MiB = 1024 ** 2

function linesFor(maxObjectBytes: number): Map<string, string> {
  const text = clamdConf({
    databaseDirectory: '/db',
    temporaryDirectory: '/tmp',
    maxObjectBytes,
    maxScanTimeMs: 300_000,
    maxThreads: 2,
  })
  return new Map(
    text
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ') as [string, string]),
  )
}

describe('clamd.conf', () => {
  for (const maxObjectBytes of [8 * MiB, 200 * MiB, 1024 * MiB, 8192 * MiB])
    it(`has no limit of a type below the limit of all, for objects up to ${maxObjectBytes / MiB} MiB`, () => {
      const lines = linesFor(maxObjectBytes)
      const all = String(maxScanBytes(maxObjectBytes))

      for (const name of [
        'MaxFileSize',
        'MaxScanSize',
        'MaxHTMLNormalize',
        'MaxHTMLNoTags',
        'MaxScriptNormalize',
        'MaxEmbeddedPE',
        'MaxZipTypeRcg',
        'PCREMaxFileSize',
      ])
        expect(lines.get(name), name).to.equal(all)
    })

  it('never asks for more than clamd takes without a word', () => {
    expect(maxScanBytes(8192 * MiB)).to.equal(2 ** 31 - 3)
  })

  it('lets clamd open as many files as are looked at', () => {
    expect(linesFor(MiB).get('MaxFiles')).to.equal(String(defaultLimits.members))
  })

  it('lets a suspicion wait until the whole object is looked at', () => {
    const lines = linesFor(MiB)

    expect(lines.get('HeuristicScanPrecedence')).to.equal('no')
    expect(lines.get('AlertExceedsMax')).to.equal('yes')
    expect(lines.get('AlertEncrypted')).to.equal('yes')
  })
})
