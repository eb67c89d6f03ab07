// What a Compose deployment is told: the settings it takes, the sums it does, the compose files it adds.
import { expect } from 'chai'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  composeVariables,
  engineTempBytes,
  planDocker,
  takeSettings,
  type EngineFacts,
} from '../../../services/cli/docker-plan.ts'
import type { Settings } from '../../../services/cli/settings.ts'

const GiB = 1024 ** 3
const MiB = 1024 ** 2
const configFile = join(import.meta.dirname, '../../../docker-compose/config/av-scan.yaml')
const secrets = { DEMO_SECRET: `whsec_${'a'.repeat(44)}` }
const large: EngineFacts = { cores: 2, memoryBytes: 24 * GiB, diskBytes: 100 * GiB }

function plan(settings: Settings, engine: EngineFacts = large) {
  return planDocker({ folder: '/compose', configFile, settings, secrets, engine })
}

describe('the plan of a Compose deployment', () => {
  it('is the compose file alone when nothing is said', () => {
    const { files, signatureSet } = plan({})

    expect(files).to.deep.equal(['/compose/compose.yaml'])
    expect(signatureSet).to.equal('official')
  })

  it('tells the services of another content of av-scan.yaml, so that a deploy recreates them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'plan-'))
    const file = join(folder, 'av-scan.yaml')
    const told = (content: string) => {
      writeFileSync(file, content)
      const input = { folder: '/compose', configFile: file, settings: {}, secrets, engine: large }
      return planDocker(input).env['AV_CONFIG_SHA256']
    }
    try {
      const before = told('tags: {}')

      expect(told('tags: {}')).to.equal(before)
      expect(told('tags: { detail: true }')).to.not.equal(before)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('never takes the test signatures by itself', () => {
    expect(plan({}).signatureSet).to.equal('official')
    expect(plan({ SIGNATURES: 'test' }).signatureSet).to.equal('test')
  })

  it('keeps temporary files in memory where they fit into a quarter of it', () => {
    const engine = { ...large, memoryBytes: 48 * GiB }
    const { files, env } = plan({ MAX_OBJECT_BYTES: String(8 * MiB), VOLUME_SIZE: '1' }, engine)

    expect(files).to.include('/compose/compose.memory.yaml')
    expect(env['SCAN_FOLDER_BYTES']).to.equal(String(GiB))
    expect(Number(env['ENGINE_TEMP_BYTES'])).to.equal(engineTempBytes(8 * MiB, 3))
  })

  it('keeps them on disk where they do not', () => {
    const engine = { ...large, memoryBytes: 2 * GiB }
    const { files, sums } = plan({ MAX_OBJECT_BYTES: String(8 * MiB), VOLUME_SIZE: '1' }, engine)

    expect(files).not.to.include('/compose/compose.memory.yaml')
    expect(sums.join()).to.contain('on disk')
  })

  it('refuses what fits neither into memory nor on the disk', () => {
    const engine = { cores: 2, memoryBytes: 2 * GiB, diskBytes: GiB }

    expect(() => plan({}, engine)).to.throw(/temporary files need up to .* GiB left/)
  })

  it('has room for a page as large as clamd unpacks, with its copies, on every thread at once', () => {
    const [unpacked, copies] = [400 * MiB, 3.5]

    expect(engineTempBytes(100 * MiB, 2)).to.be.at.least(
      3 * 100 * MiB + 2 * (1 + copies) * unpacked,
    )
  })

  it('counts the scan folder of every worker', () => {
    const engine = { cores: 2, memoryBytes: 2 * GiB, diskBytes: 45 * GiB }

    expect(() => plan({ SCALE: '1' }, engine)).not.to.throw()
    expect(() => plan({ SCALE: '3' }, engine)).to.throw(/temporary files need/)
  })

  it('divides the connections to the engine among the workers', () => {
    expect(plan({ SCALE: '1' }).env['ENGINE_CONNECTIONS']).to.equal('2')
    expect(plan({ SCALE: '3' }).env['ENGINE_CONNECTIONS']).to.equal('1')
  })

  it('adds the REST engine for ENGINE=clamav-rest', () => {
    const { files, env } = plan({ ENGINE: 'clamav-rest' })

    expect(files).to.include('/compose/compose.clamav-rest.yaml')
    expect(env['ENGINE']).to.equal('clamav-rest')
  })

  it('adds the certificate files when TLS_CERT names one', () => {
    expect(plan({ TLS_CERT: '/c.pem' }).files).to.include('/compose/compose.own-certificates.yaml')
  })

  it('puts an address to listen on into the certificates', () => {
    expect(
      plan({ BIND_ADDRESS: '10.1.2.3', TLS_NAMES: 's3.example.org' }).env['TLS_NAMES'],
    ).to.equal('s3.example.org,10.1.2.3')
    expect(plan({ BIND_ADDRESS: '0.0.0.0' }).env).not.to.have.property('TLS_NAMES')
    for (const BIND_ADDRESS of ['::1', '[::1]'])
      expect(plan({ BIND_ADDRESS }).env).to.include({ BIND_ADDRESS: '[::1]', TLS_NAMES: '::1' })
    expect(plan({}).env).not.to.have.any.keys('BIND_ADDRESS', 'TLS_NAMES')
  })

  it('writes the virtual host as a URL needs it', () => {
    expect(plan({}).env['RABBITMQ_VHOST_ENCODED']).to.equal('%2F')
    expect(plan({ RABBITMQ_VHOST: 'a/b' }).env['RABBITMQ_VHOST_ENCODED']).to.equal('a%2Fb')
  })

  it('mounts the folder of SIGNATURES=dir:PATH and tells official signatures from others', () => {
    const folder = mkdtempSync(join(tmpdir(), 'signatures-'))
    try {
      writeFileSync(join(folder, 'own.ndb'), '')
      expect(plan({ SIGNATURES: `dir:${folder}` }).signatureSet).to.equal('custom')
      writeFileSync(join(folder, 'daily.cvd'), '')
      const { files, env, signatureSet } = plan({ SIGNATURES: `dir:${folder}` })

      expect(signatureSet).to.equal('official')
      expect(env['SIGNATURES_DIR']).to.equal(folder)
      expect(files).to.include('/compose/compose.signatures-dir.yaml')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('refuses a folder of signatures that is not there', () => {
    expect(() => plan({ SIGNATURES: 'dir:/no/such/folder' })).to.throw(
      /no folder \/no\/such\/folder/,
    )
  })
})

describe('the settings of a Compose deployment', () => {
  it('are the variables that the compose files interpolate', () => {
    expect(composeVariables(['a: ${ONE:-1}', 'b: ${TWO:?text} ${ONE}'])).to.deep.equal([
      'ONE',
      'TWO',
    ])
  })

  it('are taken from the shell by name, and nothing else is', () => {
    expect(takeSettings({ SCALE: '2', PATH: '/bin', EMPTY: '' }, ['SCALE', 'EMPTY'])).to.deep.equal(
      { SCALE: '2' },
    )
  })

  it("take no generated secret from the shell, but the receiver's own", () => {
    const env = { PROOF_KEY: 'stray', PUBLISH_SECRET: 'whsec_x' }

    expect(takeSettings(env, ['PROOF_KEY', 'PUBLISH_SECRET'])).to.deep.equal({
      PUBLISH_SECRET: 'whsec_x',
    })
  })
})
