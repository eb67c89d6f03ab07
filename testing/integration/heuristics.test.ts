// What clamd names `Heuristics.*` is kept where it is no infection, and hides none: against the real daemon.
import { expect } from 'chai'
import { createClamd } from '../../services/avscan/engines/clamd.ts'
import type { Engine } from '../../services/avscan/engines/engine.ts'
import { silentLog } from '../../services/shared/log.ts'
import { scan } from '../support/engine-contract.ts'
import { oddFiles } from '../support/odd-files.ts'
import { noClamd, startClamd, type RealClamd } from '../support/real-clamd.ts'
import { samples, zipOf } from '../support/samples.ts'

describe('heuristics of clamd, real', function () {
  this.timeout(30_000)
  let clamd: RealClamd
  let engine: Engine

  before(function () {
    if (noClamd === undefined) return
    console.log(`      skipped: ${noClamd}`)
    this.skip()
  })

  before(async () => {
    clamd = await startClamd()
    engine = createClamd(
      {
        socket: clamd.socket,
        host: clamd.host,
        port: clamd.port,
        connections: 2,
        maxBytes: 100 * 1024 ** 2,
        timeoutMs: 20_000,
        stallMs: 10_000,
        signatureSet: 'test',
        breaker: { failures: 5, openMs: 500, successes: 3 },
      },
      silentLog,
    )
  })
  after(async () => {
    await engine?.close()
    await clamd?.close()
  })

  for (const [title, bytes, expected] of [
    [
      'an xz that needs a large dictionary',
      oddFiles.hungryXz(),
      { status: 'unscannable', reason: 199, detail: 'Heuristics.XZ.DicSizeLimit' },
    ],
    [
      'a zip whose members overlap',
      oddFiles.overlappingZip(),
      { status: 'suspicious', signature: 'Heuristics.Zip.OverlappingFiles' },
    ],
    [
      'a PDF with escaped names',
      oddFiles.escapedPdf(),
      { status: 'suspicious', signature: 'Heuristics.PDF.ObfuscatedNameObject' },
    ],
    [
      "numbers with the checksum of a worm's log",
      oddFiles.wormlikeNumbers(),
      { status: 'suspicious', signature: 'Heuristics.Worm.Mydoom.M.log' },
    ],
  ] as const)
    it(`keeps ${title}`, async () => {
      expect(await scan(engine, bytes)).to.deep.equal(expected)
    })

  const eicarMember = { name: 'eicar.com', bytes: samples.eicar() }

  for (const [title, odd] of Object.entries(oddFiles))
    it(`finds EICAR behind ${title} in the same archive`, async () => {
      const bytes = zipOf([{ name: 'odd', bytes: odd() }, eicarMember])

      expect(await scan(engine, bytes)).to.have.property('status', 'infected')
    })

  it('finds EICAR inside a PDF with escaped names', async () => {
    expect(await scan(engine, oddFiles.escapedPdf(samples.eicar()))).to.have.property(
      'status',
      'infected',
    )
  })

  it('never calls a zip clean that it left because its members overlap', async () => {
    const texts = Array.from({ length: 9 }, (_, index) => ({
      name: `${index}.txt`,
      bytes: Buffer.from(`harmless text number ${index}`),
    }))

    expect(await scan(engine, oddFiles.overlappingZip([...texts, eicarMember]))).to.have.property(
      'status',
      'suspicious',
    )
  })
})
