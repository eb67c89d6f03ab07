// The engine contract against the real daemons, and what only they can show.
import { expect } from 'chai'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createClamavRest } from '../../services/avscan/engines/clamav-rest.ts'
import { createClamd, type ClamdOptions } from '../../services/avscan/engines/clamd.ts'
import type { Engine } from '../../services/avscan/engines/engine.ts'
import { EngineUnavailableError } from '../../services/shared/errors.ts'
import { silentLog } from '../../services/shared/log.ts'
import { contractLimits, engineContract, scan, type Subject } from '../support/engine-contract.ts'
import { eventually } from '../support/eventually.ts'
import { noClamavRest, startClamavRest } from '../support/real-clamav-rest.ts'
import { noClamd, startClamd, type RealClamd } from '../support/real-clamd.ts'
import { rejection } from '../support/rejection.ts'
import { samples, zipOf } from '../support/samples.ts'
import { testSignatureSet, withEicar } from '../support/signature-set.ts'

const never = () => new AbortController().signal

const smallLimits = {
  maxObjectBytes: contractLimits.maxObjectBytes,
  overrides: { MaxFileSize: contractLimits.maxScanBytes, MaxScanSize: contractLimits.maxScanBytes },
}

function engineFor(clamd: RealClamd, options: Partial<ClamdOptions> = {}): Engine {
  return createClamd(
    {
      socket: clamd.socket,
      host: clamd.host,
      port: clamd.port,
      connections: contractLimits.connections,
      maxBytes: contractLimits.maxObjectBytes,
      timeoutMs: 20_000,
      stallMs: 10_000,
      signatureSet: 'test',
      breaker: { failures: 5, openMs: 500, successes: 3 },
      ...options,
    },
    silentLog,
  )
}

async function clamdSubject(options: Partial<ClamdOptions>): Promise<Subject> {
  const clamd = await startClamd(smallLimits)
  const engine = engineFor(clamd, options)
  return {
    engine,
    freeze: () => clamd.process.kill('SIGSTOP'),
    kill: () => clamd.kill(),
    restart: () => clamd.start(),
    close: async () => {
      await engine.close()
      await clamd.close()
    },
  }
}

describe('clamd, real', function () {
  this.timeout(30_000)

  before(function () {
    if (noClamd === undefined) return
    console.log(`      skipped: ${noClamd}`)
    this.skip()
  })

  describe('keeps the engine contract over a unix socket', () => {
    engineContract(() => clamdSubject({}))
  })

  describe('keeps the engine contract over TCP', () => {
    engineContract(() => clamdSubject({ socket: '' }))
  })

  describe('with its own ways', () => {
    let clamd: RealClamd
    const engines: Engine[] = []
    const engine = (options: Partial<ClamdOptions> = {}) => {
      const made = engineFor(clamd, options)
      engines.push(made)
      return made
    }

    before(async () => {
      clamd = await startClamd({
        ...smallLimits,
        overrides: { ...smallLimits.overrides, MaxFiles: 50, ReadTimeout: 2 },
      })
    })
    afterEach(async () => {
      for (const one of engines.splice(0)) await one.close()
      await testSignaturesBack()
    })
    after(() => clamd?.close())

    const testSignaturesBack = async () => {
      const { testSignatures } = await import('../../services/shared/test-signatures.ts')
      await testSignatures(clamd.databaseDirectory)
      await rm(join(clamd.databaseDirectory, 'daily.cud'), { force: true })
    }

    it('names its set as configured and has no number for it', async () => {
      expect(await engine().probe(never())).to.include({
        signatureVersion: '0',
        signatureSet: 'test',
      })
    })

    it('reports too many files with 102', async () => {
      const zip = zipOf(
        Array.from({ length: 80 }, (_, index) => ({
          name: `${index}.txt`,
          bytes: Buffer.from(`file ${index}`),
        })),
      )

      expect(await scan(engine(), zip)).to.include({ status: 'unscannable', reason: 102 })
    })

    it('reports too deep nesting with 103', async () => {
      expect(await scan(engine(), samples.nested(25))).to.include({
        status: 'unscannable',
        reason: 103,
      })
    })

    it('never passes a zip member over its limit with EICAR behind the limit', async () => {
      const bytes = Buffer.concat([
        Buffer.alloc(contractLimits.maxScanBytes + 1_000_000),
        samples.eicar(),
      ])

      expect(await scan(engine(), zipOf([{ name: 'big.bin', bytes }]))).to.include({
        status: 'unscannable',
        reason: 101,
      })
    })

    it('is told by an error when its StreamMaxLength is lower than our limit', async () => {
      const bytes = Buffer.alloc(contractLimits.maxObjectBytes + 1)
      const error = await rejection(scan(engine({ maxBytes: 1e9 }), bytes))

      expect(error).to.have.property('name', 'ClamdError')
      expect(error).not.to.be.instanceOf(EngineUnavailableError)
    })

    it('keeps a session that is used again after its ReadTimeout', async () => {
      const one = engine({ idleMs: 1_000 })
      await scan(one, samples.clean())
      const begun = performance.now()
      await eventually(() => performance.now() - begun > 3_500)

      expect(await scan(one, samples.eicar())).to.have.property('status', 'infected')
    })

    it('fails an upload that stalls past its ReadTimeout', async () => {
      const stream = await engine().open(1_000_000, never())
      await stream.write(Buffer.alloc(600_000))
      await eventually(() =>
        stream.write(Buffer.alloc(0)).then(
          () => false,
          () => true,
        ),
      )

      expect(await rejection(stream.end())).to.have.property('name', 'ClamdError')
    })

    it('is unavailable after it loaded a set without EICAR, and back when that is mended', async () => {
      const one = engine({ canaryMs: 0 })
      await scan(one, samples.clean())
      await writeFile(
        join(clamd.databaseDirectory, 'test.ndb'),
        `Other:0:*:${Buffer.from('nothing like it').toString('hex')}\n`,
      )
      await writeFile(join(clamd.databaseDirectory, 'test.hdb'), `${'0'.repeat(32)}:68:Other\n`)
      await clamd.reload()
      await eventually(
        async () =>
          expect(await rejection(one.open(3, never()))).to.be.instanceOf(EngineUnavailableError),
        { timeoutMs: 40_000 },
      )

      await testSignaturesBack()
      await clamd.reload()
      await eventually(() => one.probe(never()), { timeoutMs: 40_000 })
      expect(await scan(one, samples.eicar())).to.have.property('status', 'infected')
    }).timeout(90_000)

    it('fails a scan whose clamd hangs long before its time limit', async () => {
      const stream = await engine({ timeoutMs: 60_000, stallMs: 500 }).open(3, never())
      await stream.write(Buffer.from('abc'))
      clamd.process.kill('SIGSTOP')
      const error = await rejection(stream.end())
      clamd.process.kill('SIGCONT')

      expect(error.message).to.equal('no answer to PING within 500 ms')
      expect(error).not.to.be.instanceOf(EngineUnavailableError)
    })

    it('tells the version of a set that has one, and judges by the next one after a reload', async () => {
      const one = engine({ lookMs: 0 })
      const novelty = Buffer.from('a threat of tomorrow')
      await testSignatureSet(clamd.databaseDirectory, { version: 27_801 })
      await clamd.reload()
      await eventually(async () => (await one.probe(never())).signatureVersion === '27801')
      const before = await scan(one, novelty)

      const signatures = withEicar({ Novelty: novelty })
      await testSignatureSet(clamd.databaseDirectory, { version: 27_802, signatures })
      await clamd.reload()
      await eventually(async () => (await one.probe(never())).signatureVersion === '27802')

      expect(before).to.deep.equal({ status: 'clean' })
      expect(await scan(one, novelty)).to.deep.equal({
        status: 'infected',
        signature: 'Novelty.UNOFFICIAL',
      })
      await testSignaturesBack()
      await clamd.reload()
      await eventually(async () => (await one.probe(never())).signatureVersion === '0')
    })

    it('gives no finding for infected objects in flight while it is terminated', async () => {
      const bytes = samples.large(8_000_000, samples.eicar())
      const one = engine()
      const streams = [await one.open(bytes.length, never()), await one.open(bytes.length, never())]
      for (const stream of streams) await stream.write(bytes)
      const findings = streams.map((stream) =>
        stream.end().then(
          (finding) => finding.status,
          () => 'error',
        ),
      )
      clamd.process.kill('SIGTERM')

      for (const status of await Promise.all(findings))
        expect(status).to.be.oneOf(['infected', 'error'])
      await eventually(() => clamd.process.exitCode !== null || clamd.process.signalCode !== null)
      await clamd.start()
      expect(await scan(one, samples.eicar())).to.have.property('status', 'infected')
    })
  })
})

describe('clamav-rest, real', function () {
  this.timeout(30_000)

  before(function () {
    const reason = noClamavRest ?? noClamd
    if (reason === undefined) return
    console.log(`      skipped: ${reason}`)
    this.skip()
  })

  describe('keeps the engine contract', () => {
    engineContract(async () => {
      const clamd = await startClamd(smallLimits)
      const rest = await startClamavRest(clamd)
      const engine = createClamavRest(
        {
          host: '127.0.0.1',
          port: rest.port,
          ca: rest.ca,
          connections: contractLimits.connections,
          maxBytes: contractLimits.maxObjectBytes,
          timeoutMs: 20_000,
          stallMs: 10_000,
          signatureSet: 'test',
        },
        silentLog,
      )
      return {
        engine,
        freeze: () => clamd.process.kill('SIGSTOP'),
        kill: () => clamd.kill(),
        restart: () => clamd.start(),
        close: async () => {
          await engine.close()
          await rest.close()
          await clamd.close()
        },
      }
    })
  })

  it('fails a scan whose clamd hangs long before its time limit', async () => {
    const clamd = await startClamd(smallLimits)
    const rest = await startClamavRest(clamd)
    const engine = createClamavRest(
      {
        host: '127.0.0.1',
        port: rest.port,
        ca: rest.ca,
        connections: 2,
        maxBytes: contractLimits.maxObjectBytes,
        timeoutMs: 60_000,
        stallMs: 500,
        signatureSet: 'test',
      },
      silentLog,
    )
    try {
      const stream = await engine.open(3, never())
      await stream.write(Buffer.from('abc'))
      clamd.process.kill('SIGSTOP')

      expect((await rejection(stream.end())).message).to.match(/went silent while it scanned/)
    } finally {
      clamd.process.kill('SIGCONT')
      await engine.close()
      await rest.close()
      await clamd.close()
    }
  })
})
