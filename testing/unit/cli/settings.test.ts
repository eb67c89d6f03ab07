import { expect } from 'chai'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { renderEnvironment, quote } from '../../../services/cli/environment.ts'
import { missingPackages } from '../../../services/cli/install-packages.ts'
import { chooseFlavour } from '../../../services/cli/install-store.ts'
import { layoutOf, maxSocketPath } from '../../../services/cli/layout.ts'
import { renderLine } from '../../../services/cli/logs.ts'
import { findPaths } from '../../../services/cli/paths.ts'
import { collectSettings, engineSizes, parseScale } from '../../../services/cli/settings.ts'
import { mirrorTrouble, parseSignatureSource } from '../../../services/cli/signatures.ts'

describe('settings of a deployment', () => {
  it('takes the shell before the secrets file, and only known names', () => {
    const settings = collectSettings(
      { DELETE_FILE: 'false', PATH: '/bin', SCALE: '3' },
      { DELETE_FILE: 'true', REPORT_CLEAN: 'true', MINIO_ROOT_PASSWORD: 'x' },
    )

    expect(settings).to.deep.equal({ DELETE_FILE: 'false', REPORT_CLEAN: 'true', SCALE: '3' })
  })

  it('takes the secret of a foreign receiver from the shell, and no other secret', () => {
    const file = { PUBLISH_SECRET: 'ours', PROOF_KEY: 'ours' }

    expect(collectSettings({ PUBLISH_SECRET: 'theirs', PROOF_KEY: 'theirs' }, file)).to.deep.equal({
      PUBLISH_SECRET: 'theirs',
      PROOF_KEY: 'ours',
    })
  })

  it('lets no shell variable move the parts of the deployment', () => {
    expect(collectSettings({ HTTP_PORT: '1', CLAMD_SOCKET: '/x', TLS_CA: '/y' }, {})).to.deep.equal(
      {},
    )
  })

  it('takes the hook of the fault suite from the shell alone', () => {
    const hook = { AVSCAN_FAULT_FILE: '/tmp/step' }

    expect(collectSettings(hook, {})).to.deep.equal(hook)
    expect(collectSettings({}, hook)).to.deep.equal({})
  })

  it('refuses a SCALE that is no number of workers', () => {
    expect(parseScale(undefined)).to.equal(1)
    expect(parseScale('3')).to.equal(3)
    for (const bad of ['0', '-1', '1.5', 'many', '65'])
      expect(() => parseScale(bad), bad).to.throw(`SCALE=${bad}`)
  })

  it('shares the connections to clamd among the workers', () => {
    expect([1, 2, 3, 8].map((scale) => engineSizes(scale, { cores: 2 }).connections)).to.deep.equal(
      [2, 1, 1, 1],
    )
  })

  it('gives clamd a thread more than they can take together', () => {
    expect([1, 2, 3, 8].map((scale) => engineSizes(scale, { cores: 2 }).threads)).to.deep.equal([
      3, 3, 4, 9,
    ])
    expect(engineSizes(2, { cores: 2, given: '3' })).to.deep.equal({ threads: 7, connections: 3 })
  })
})

describe('parseSignatureSource', () => {
  it('understands every form', () => {
    expect(parseSignatureSource(undefined)).to.deep.equal({ kind: 'auto' })
    expect(parseSignatureSource('online')).to.deep.equal({ kind: 'online' })
    expect(parseSignatureSource('test')).to.deep.equal({ kind: 'test' })
    expect(parseSignatureSource('mirror:https://m.example/db')).to.deep.equal({
      kind: 'mirror',
      url: 'https://m.example/db',
    })
    expect(parseSignatureSource('dir:/var/sigs')).to.deep.equal({ kind: 'dir', path: '/var/sigs' })
  })

  it('refuses anything else with the forms that there are', () => {
    for (const bad of ['offline', 'mirror:', 'mirror:nowhere', 'dir:'])
      expect(() => parseSignatureSource(bad), bad).to.throw(`SIGNATURES=${bad}`)
  })

  it('says quickly why a mirror is of no use', async () => {
    expect(await mirrorTrouble('http://127.0.0.1:1', 2000)).to.contain('does not answer')
  })
})

describe('chooseFlavour', () => {
  it('takes MinIO, and may take another one while there are no objects', () => {
    expect(chooseFlavour({ asked: undefined, before: undefined })).to.include({
      flavour: 'minio',
      isFree: true,
    })
    expect(chooseFlavour({ asked: '', before: undefined }).flavour).to.equal('minio')
  })

  it('takes what it is asked for, and nothing else', () => {
    for (const asked of ['versitygw', 'minio'])
      expect(chooseFlavour({ asked, before: undefined })).to.include({
        flavour: asked,
        isFree: false,
      })
  })

  it('stays with the store that keeps the objects', () => {
    for (const before of ['versitygw', 'minio'] as const)
      expect(chooseFlavour({ asked: undefined, before })).to.include({
        flavour: before,
        isFree: false,
      })
    expect(() => chooseFlavour({ asked: 'minio', before: 'versitygw' })).to.throw(
      'would not see them',
    )
  })

  it('refuses what is not known', () => {
    expect(() => chooseFlavour({ asked: 'ceph', before: undefined })).to.throw('STORE_FLAVOUR=ceph')
  })
})

describe('places', () => {
  it('keeps a test deployment and its secrets away from the real one', () => {
    const paths = findPaths({ RUN_DIR: '.run/test-1' }, '/repo')

    expect(paths).to.include({
      runDir: '/repo/.run/test-1',
      envFile: '/repo/.run/test-1/env',
      isDefault: false,
    })
    expect(findPaths({}, '/repo')).to.include({
      runDir: '/repo/.run',
      envFile: '/repo/docker-compose/.env',
      isDefault: true,
    })
  })

  it('moves the socket to the temporary folder when the path would be too long', () => {
    const deep = `/${'d'.repeat(120)}`

    expect(layoutOf('/repo/.run').engineSocket).to.equal('/repo/.run/engine/clamd.sock')
    expect(layoutOf(deep).engineSocket).to.match(new RegExp(`^${join(tmpdir(), 'avscan-')}`))
    expect(Buffer.byteLength(layoutOf(deep).engineSocket)).to.be.at.most(maxSocketPath)
    expect(Buffer.byteLength(join(layoutOf(deep).scan, '12345678.lock'))).to.be.at.most(
      maxSocketPath,
    )
  })

  it('installs only what is missing', () => {
    expect(missingPackages({ rabbitmq: true, clamd: false, freshclam: true })).to.deep.equal([
      'clamav-daemon',
    ])
    expect(missingPackages({ rabbitmq: true, clamd: true, freshclam: true })).to.deep.equal([])
  })
})

describe('renderEnvironment', () => {
  it('prints exports and nothing else, quoted for the shell', () => {
    const text = renderEnvironment({
      endpoint: 'https://127.0.0.1:9000',
      region: 'eu-west-1',
      bucket: 'storagebucket',
      caFile: "/it's here/ca.pem",
      uploader: { user: 'miniouser', password: 'abc' },
    })

    for (const line of text.trimEnd().split('\n')) expect(line).to.match(/^export [A-Z_]+=/)
    expect(text).to.contain(`export AWS_CA_BUNDLE='/it'\\''s here/ca.pem'\n`)
    expect(text).to.contain('export BUCKET=storagebucket\n')
    expect(quote('$(rm -rf x)')).to.equal("'$(rm -rf x)'")
  })
})

describe('renderLine', () => {
  it('lets no key speak to the terminal', () => {
    const key = 'a\u001b[2J\u009b2J\u202egpj.exe\nforged'
    const line = JSON.stringify({ level: 'info', message: `scanned ${key}`, key, [key]: 1 })

    for (const shown of [renderLine('avscan-1', line), renderLine('broker', `key ${key}`)])
      // oxlint-disable-next-line no-control-regex
      expect(shown).to.not.match(/[\u0000-\u001f\u007f-\u009f\u202e]/)
  })

  it('turns a JSON line into text that begins with the part', () => {
    const line =
      '{"level":"warn","message":"lane paused","service":"avscan","queue":"q 1","n":2,"timestamp":"2026-11-21T05:00:00.123Z"}'

    expect(renderLine('avscan-1', line)).to.equal(
      '[avscan-1] 05:00:00.123 warn: lane paused queue="q 1" n=2',
    )
  })

  it('leaves other lines as they are', () => {
    expect(renderLine('store', 'a\ttab')).to.equal('[store] a\ttab')
    expect(renderLine('store', 'hello')).to.equal('[store] hello')
    expect(renderLine('store', '{broken')).to.equal('[store] {broken')
  })
})
