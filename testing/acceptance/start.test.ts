// `make start` when something of it fails: what can run runs.
import { expect } from 'chai'
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findStore } from '../../services/cli/install-store.ts'
import { findPaths } from '../../services/cli/paths.ts'
import { readPorts } from '../../services/cli/ports.ts'
import { readSpec } from '../../services/cli/spec.ts'
import { deployNative, runCli } from '../support/deployment.ts'
import { eventually } from '../support/eventually.ts'
import { noTlsRabbitmq } from '../support/tls-rabbitmq.ts'
import { noClamd } from '../support/real-clamd.ts'
import { noMinio } from '../support/real-store.ts'
import { rejection } from '../support/rejection.ts'
import { samples } from '../support/samples.ts'
import { createUploader } from '../support/uploader.ts'

const why = noMinio ?? noTlsRabbitmq ?? noClamd
if (why !== undefined) console.log(`skipped: a start that fails half-way: ${why}`)

describe('a start that fails half-way', function () {
  this.timeout(180_000)

  it('leaves the parts running that can run, tries again, and says what failed', async function () {
    if (why !== undefined) this.skip()
    const deployment = await deployNative({ flavour: 'minio' })
    const folder = mkdtempSync(join(tmpdir(), 'broken-mc-'))
    try {
      const { env } = deployment
      await runCli(['stop'], env)
      const mc = join(folder, 'mc')
      // mc makes the users of the store: without it init cannot go on.
      writeFileSync(mc, '#!/bin/sh\necho "mc: the moon is in the wrong place" >&2\nexit 1\n')
      chmodSync(mc, 0o755)
      // Of a PATH that has both, both are taken.
      const { server } = await findStore('minio', findPaths({}).toolsDir)
      symlinkSync(server, join(folder, 'minio'))
      const error = await rejection(runCli(['start'], { ...env, PATH: `${folder}:${env['PATH']}` }))

      expect(error.message).to.match(/buckets, users and the event rule … FAILED/)
      expect(error.message).to.match(/again: buckets, users and the event rule … FAILED/)
      const uploader = createUploader(deployment.uploader)
      const uploaded = await uploader.put('after-a-start.txt', samples.clean())
      await uploader.awaitTag(uploaded, 30_000)

      await runCli(['start'], env)
    } finally {
      rmSync(folder, { recursive: true })
      await deployment.stop()
    }
  })

  it('ends nothing of what runs when it tries the store again', async function () {
    if (why !== undefined) this.skip()
    const deployment = await deployNative({ flavour: 'minio' })
    const { env } = deployment
    const runDir = env['RUN_DIR'] ?? ''
    const taken = createServer()
    try {
      await runCli(['stop'], env)
      const specBefore = readSpec(runDir)?.children.map(({ name }) => name) ?? []
      const { promise: listening, resolve } = Promise.withResolvers<void>()
      taken.listen(readPorts(runDir)?.store, '127.0.0.1', resolve)
      await listening
      const started = rejection(runCli(['start'], env)).catch(() => undefined)
      // Before: the port is given back when the others run, and the step that is tried again succeeds.
      await eventually(
        () => {
          const children = readSpec(runDir)?.children ?? []
          expect(children.some(({ name }) => name === 'reconciler')).to.equal(true)
        },
        { timeoutMs: 120_000 },
      )
      taken.close()
      await started

      const spec = readSpec(runDir)?.children.map(({ name }) => name)
      expect(spec).to.have.members(specBefore)
      await runCli(['start'], env)
    } finally {
      taken.close()
      await deployment.stop()
    }
  })
})
