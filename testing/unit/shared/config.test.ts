// Configuration: where each value comes from, and every mistake by file, line, column, key, rule and value.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import {
  ConfigError,
  listSettings,
  loadConfig,
  printableConfig,
} from '../../../services/shared/config.ts'
import { allEndpoints, enginePort, maxObjectBytes } from '../../../services/shared/config-schema.ts'

const fixtures = 'testing/fixtures/config'
const webhookSecret = `whsec_${'A'.repeat(32)}`
const file = (name: string) => `${fixtures}/${name}.yaml`

function problemsOf(
  env: Record<string, string>,
  service = 'avscan',
  required: string[] = [],
): readonly string[] {
  try {
    loadConfig({ service, env, required })
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

const mistakes: Record<string, string[]> = {
  'unknown-key': [
    '2:10 broker.hosts: unknown key; did you mean broker.host?',
    '3:12 broker.prefech: unknown key',
    '5:15 scan.concurency: unknown key; did you mean scan.concurrency?',
    '6:21 scan.max_object_bytes: unknown key; did you mean limits.maxObjectBytes?',
    '7:9 colour: unknown key',
  ],
  'wrong-type': [
    '5:7 scan: expected object, received string, got "fast"',
    '2:13 limits.volumeGb: expected number, received string, got "two"',
    '4:12 tags.enabled: expected boolean, received string, got "maybe"',
  ],
  'out-of-range': [
    '4:9 broker.port: too big: expected number to be <=65535, got 70000',
    '2:16 scan.concurrency: too small: expected number to be >=1, got 0',
    '6:19 limits.maxObjectBytes: too small: expected number to be >=1, got 0',
    '8:15 canary.intervalMs: too big: expected number to be <=2000000000, got 2592000000',
  ],
  'duplicate-key': ['3:3 Map keys must be unique'],
  syntax: ['3:1 Flow sequence in block collection must be sufficiently indented and end with a ]'],
  'two-documents': ['2:1 Source contains multiple documents; please use YAML.parseAllDocuments()'],
  alias: ['2:13 a value that begins with * needs quotes'],
  'not-a-mapping': ['1:1 expected a mapping'],
  'unset-variable': [
    '2:11 ${REGION_THAT_NOBODY_SET}: the variable is not set',
    '4:8 ${PATH_THAT_NOBODY_SET}: the variable is not set',
  ],
  several: [
    '2:9 broker.port: is the management port; AMQP is 5671 (TLS) or 5672, got 15672',
    '4:16 scan.concurrency: expected int, received number, got 1.5',
    '5:12 scan.folders: unknown key; did you mean scan.folder?',
    '7:8 publish.url: expected an http:// or https:// address, got "ftp://hook.example"',
  ],
  contradictions: [
    '3:19 limits.maxObjectBytes: at most half of VOLUME_SIZE (536870912 bytes), got 600000000',
    '5:3 publish.secret: required when PUBLISH_URL is set; set PUBLISH_SECRET (whsec_…)',
    '7:8 proof.key: at least 32 characters',
    '10:11 engine.socket: only clamd has a socket; ENGINE is clamav-rest',
    '13:13 endpoints.1.name: "soc" is there twice',
    ' store.buckets.0: "storagebucket" is the records bucket; it cannot be scanned',
  ],
}

describe('loadConfig: mistakes in the file', () => {
  it('asks nobody but the notifier for the secret of PUBLISH_URL', () => {
    const env = { PUBLISH_URL: 'https://hook.example/' }

    expect(problemsOf(env, 'avscan')).to.deep.equal([])
    expect(problemsOf(env, 'notifier')).to.have.length(1)
  })

  for (const [name, expected] of Object.entries(mistakes)) {
    it(`tells what is wrong with ${name}.yaml, and where`, () => {
      const problems = problemsOf({ AV_CONFIG: file(name) }, 'notifier')

      expect(problems).to.deep.equal(
        expected.map((line) => `${file(name)}${line.startsWith(' ') ? '' : ':'}${line}`),
      )
    })
  }

  it('puts every problem on a line of its own in the message', () => {
    expect(() => loadConfig({ service: 'avscan', env: { AV_CONFIG: file('several') } }))
      .to.throw(ConfigError)
      .with.property('message')
      .that.satisfies((message: string) => message.split('\n').length === 4)
  })

  it('tells about missing identities in the same breath as about the file', () => {
    const problems = problemsOf({ AV_CONFIG: file('out-of-range') }, 'avscan', ['store.user'])

    expect(problems).to.have.length(5)
    expect(problems[4]).to.equal('store.user: required by avscan; set AVSCAN_STORE_USER')
  })

  it('refuses a file that AV_CONFIG names and nobody wrote', () => {
    expect(problemsOf({ AV_CONFIG: '/nowhere/av-scan.yaml' })).to.deep.equal([
      "/nowhere/av-scan.yaml: ENOENT: no such file or directory, open '/nowhere/av-scan.yaml'",
    ])
  })

  it('takes an empty file for one that changes nothing', () => {
    const config = loadConfig({ service: 'avscan', env: { AV_CONFIG: file('empty') } })

    expect(config.store.buckets).to.deep.equal(['storagebucket'])
  })
})

describe('loadConfig: secrets', () => {
  for (const name of ['secrets-refused', 'secret-section', 'alias']) {
    it(`keeps the secrets of ${name}.yaml out of its errors`, () => {
      const problems = problemsOf({ AV_CONFIG: file(name) })

      expect(problems).not.to.be.empty
      expect(problems.join('\n')).not.to.include('hunter2')
    })
  }

  it('keeps a refused secret of the environment out of its errors', () => {
    const problems = problemsOf({
      PUBLISH_SECRET: 'hunter2',
      PROOF_KEY: 'hunter2',
      PROOF_OLD_KEYS: 'hunter2',
    })

    expect(problems).not.to.be.empty
    expect(problems.join('\n')).not.to.include('hunter2')
  })

  it('prints every secret as ***', () => {
    const config = loadConfig({
      service: 'avscan',
      env: {
        AV_CONFIG: file('good'),
        SOC_SECRET: webhookSecret,
        AVSCAN_STORE_PASSWORD: 'hunter2-store',
        AVSCAN_BROKER_PASSWORD: 'hunter2-broker',
        PROOF_KEY: `hunter2${'x'.repeat(32)}`,
        PROOF_OLD_KEYS: `hunter2${'y'.repeat(32)}`,
        PUBLISH_SECRET: `whsec_hunter2${'A'.repeat(25)}`,
      },
    })

    const printed = JSON.stringify(printableConfig(config))

    expect(printed).not.to.include('hunter2').and.not.to.include(webhookSecret)
    expect(printed.split('"***"')).to.have.length(7)
    expect(config.store.password).to.equal('hunter2-store')
  })

  it('prints no user, password or query of a receiver', () => {
    const url = 'https://hunter2user:hunter2pass@hook.example/in?key=hunter2query'
    const config = loadConfig({ service: 'avscan', env: { PUBLISH_URL: url } })

    expect(JSON.stringify(printableConfig(config))).not.to.include('hunter2')
    expect(printableConfig(config)).to.have.nested.property(
      'publish.url',
      'https://***:***@hook.example/in?***',
    )
    expect(config.publish.url).to.equal(url)
  })

  it('refuses a receiver whose password is not percent-encoded, without printing it', () => {
    const env = { PUBLISH_URL: 'http://hunter2:50%off@hook.example/' }

    expect(() => loadConfig({ service: 'avscan', env }))
      .to.throw(ConfigError)
      .with.property('message')
      .that.matches(/PUBLISH_URL.*must be written as %25/)
      .and.not.matches(/hunter2|50%off/)
  })

  it('prints a secret that is not set as empty', () => {
    const config = loadConfig({ service: 'avscan', env: {} })

    expect(printableConfig(config)).to.have.nested.property('proof.key', '')
    expect(printableConfig(config)).to.have.deep.nested.property('proof.oldKeys', [])
  })
})

describe('loadConfig: the environment', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'avscan-config-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  it('reads a secret from the file that NAME_FILE names, without its last line break', () => {
    writeFileSync(join(folder, 'secret'), ' s3cret \n')

    const config = loadConfig({
      service: 'avscan',
      env: { AVSCAN_STORE_PASSWORD_FILE: join(folder, 'secret') },
    })

    expect(config.store.password).to.equal(' s3cret ')
  })

  it('substitutes ${NAME} of the file from NAME_FILE too', () => {
    writeFileSync(join(folder, 'soc'), `${webhookSecret}\n`)

    const config = loadConfig({
      service: 'avscan',
      env: { AV_CONFIG: file('good'), SOC_SECRET_FILE: join(folder, 'soc') },
    })

    expect(config.endpoints[0]?.secret).to.equal(webhookSecret)
  })

  it('tells which NAME_FILE cannot be read', () => {
    expect(problemsOf({ AVSCAN_STORE_PASSWORD_FILE: join(folder, 'none') })[0]).to.match(
      /^AVSCAN_STORE_PASSWORD_FILE: ENOENT/,
    )
  })

  it('lets the environment win over the file', () => {
    const env = { AV_CONFIG: file('good'), SOC_SECRET: webhookSecret }

    const fromFile = loadConfig({ service: 'avscan', env })
    const fromEnv = loadConfig({
      service: 'avscan',
      env: { ...env, MINIO_SERVER_URL: 'http://other:1', TAG_KEY: 'av' },
    })

    expect([fromFile.store.url, fromFile.tags.key]).to.deep.equal([
      'https://store.example:9000',
      'virus-scan',
    ])
    expect([fromEnv.store.url, fromEnv.tags.key]).to.deep.equal(['http://other:1', 'av'])
  })

  it('does not hide a wrong section of the file behind a variable', () => {
    expect(problemsOf({ AV_CONFIG: file('wrong-type'), SCAN_CONCURRENCY: '3' })[0]).to.equal(
      `${file('wrong-type')}:5:7 scan: expected object, received string, got "fast"`,
    )
  })

  it('treats an empty variable as one that is not set', () => {
    const config = loadConfig({
      service: 'avscan',
      env: { MINIO_BUCKET_NAME: '', RABBITMQ_PORT: '', TAG_FILES: '', AV_CONFIG: '' },
    })

    expect(config.store.buckets).to.deep.equal(['storagebucket'])
    expect(config.broker.port).to.equal(5671)
    expect(config.tags.enabled).to.equal(true)
  })

  it('names the variable that is wrong, and the management port by what it is', () => {
    expect(
      problemsOf({ RABBITMQ_PORT: '15672', VOLUME_SIZE: 'big', TAG_FILES: 'perhaps' }),
    ).to.deep.equal([
      'RABBITMQ_PORT (broker.port): is the management port; AMQP is 5671 (TLS) or 5672, got 15672',
      'VOLUME_SIZE (limits.volumeGb): expected number, received string, got "big"',
      'TAG_FILES (tags.enabled): expected boolean, received string, got "perhaps"',
    ])
  })

  it('splits a comma list and forgives blanks and a comma at its end', () => {
    const config = loadConfig({ service: 'avscan', env: { MINIO_BUCKET_NAME: 'one, two,three,' } })

    expect(config.store.buckets).to.deep.equal(['one', 'two', 'three'])
  })

  it('names the part of a comma list that is wrong', () => {
    expect(problemsOf({ MINIO_BUCKET_NAME: 'good,Bad_Name' })).to.deep.equal([
      'MINIO_BUCKET_NAME (store.buckets.1): expected a bucket name, got "Bad_Name"',
    ])
  })

  it('never takes an empty or short text for an old proof key', () => {
    const key = 'k'.repeat(32)

    const config = loadConfig({ service: 'avscan', env: { PROOF_OLD_KEYS: `${key},,` } })

    expect(config.proof.oldKeys).to.deep.equal([key])
    expect(problemsOf({ PROOF_OLD_KEYS: 'short' })).to.deep.equal([
      'PROOF_OLD_KEYS (proof.oldKeys.0): at least 32 characters',
    ])
  })

  for (const [written, value] of [
    ['true', true],
    ['Yes', true],
    ['1', true],
    ['on', true],
    ['FALSE', false],
    ['no', false],
    ['0', false],
    ['off', false],
  ] as const) {
    it(`reads ${written} as ${value}`, () => {
      const config = loadConfig({ service: 'avscan', env: { DELETE_FILE: written } })

      expect(config.actions.delete).to.equal(value)
    })
  }

  it('gives each service its own identity', () => {
    const env = {
      AVSCAN_BROKER_USER: 'a',
      NOTIFIER_BROKER_USER: 'n',
      AVSCAN_STORE_USER: 's',
    }

    expect(loadConfig({ service: 'avscan', env }).broker.user).to.equal('a')
    expect(loadConfig({ service: 'notifier', env }).broker.user).to.equal('n')
    expect(loadConfig({ service: 'notifier', env }).store.user).to.equal('')
  })

  it('asks for what the service needs by the names of its variables', () => {
    expect(problemsOf({}, 'notifier', ['broker.user', 'broker.password'])).to.deep.equal([
      'broker.user: required by notifier; set NOTIFIER_BROKER_USER',
      'broker.password: required by notifier; set NOTIFIER_BROKER_PASSWORD or NOTIFIER_BROKER_PASSWORD_FILE',
    ])
  })
})

describe('the configuration', () => {
  it('cannot be changed', () => {
    const config = loadConfig({ service: 'avscan', env: {} })

    expect(Object.isFrozen(config.store.buckets)).to.equal(true)
    expect(() => Object.assign(config.broker, { port: 1 })).to.throw(TypeError)
  })

  it('describes every setting and gives no variable twice', () => {
    const settings = listSettings()
    const names = settings.flatMap(({ env }) => (env === undefined ? [] : [env]))

    expect(settings.filter(({ description }) => description === '')).to.deep.equal([])
    expect(names).to.have.length(new Set(names).size)
  })

  it('derives the object limit and the port of the engine', () => {
    const plain = loadConfig({ service: 'avscan', env: {} })
    const other = loadConfig({
      service: 'avscan',
      env: { MAX_OBJECT_BYTES: '1000', ENGINE: 'clamav-rest' },
    })

    expect([maxObjectBytes(plain), enginePort(plain.engine)]).to.deep.equal([1024 ** 3, 3310])
    expect([maxObjectBytes(other), enginePort(other.engine)]).to.deep.equal([1000, 9443])
  })

  it('makes PUBLISH_URL and REPORT_CLEAN the endpoint without a name', () => {
    const env = { PUBLISH_URL: 'https://hook.example/', PUBLISH_SECRET: webhookSecret }

    const [quiet] = allEndpoints(loadConfig({ service: 'notifier', env }))
    const [chatty] = allEndpoints(
      loadConfig({ service: 'notifier', env: { ...env, REPORT_CLEAN: 'true' } }),
    )

    expect(quiet).to.include({ name: '', url: 'https://hook.example/' })
    expect(quiet?.verdicts).to.deep.equal(['infected', 'suspicious', 'unscannable', 'failed'])
    expect(chatty?.verdicts).to.include.members(['clean', 'skipped'])
  })
})
