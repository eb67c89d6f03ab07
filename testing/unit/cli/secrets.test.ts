import { expect } from 'chai'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  ensureSecrets,
  parseEnvFile,
  readSecrets,
  secretNames,
} from '../../../services/cli/secrets.ts'

describe('secrets', () => {
  let folder: string
  let file: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'secrets-'))
    file = join(folder, 'deep/.env')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('generates every variable into a file that only its owner can read', () => {
    const { secrets, created } = ensureSecrets(file)

    expect(created).to.equal(true)
    expect(Object.keys(secrets)).to.have.members(secretNames)
    expect(statSync(file).mode & 0o777).to.equal(0o600)
    expect(readSecrets(file)).to.deep.equal(secrets)
  })

  it('makes passwords of 32 to 40 letters and digits, no two alike', () => {
    const { secrets } = ensureSecrets(file)
    const passwords = secretNames
      .filter((name) => /PASS(WORD)?$/.test(name))
      .map((name) => secrets[name] ?? '')

    for (const password of passwords) expect(password).to.match(/^[A-Za-z0-9]{32,40}$/)
    expect(new Set(passwords).size).to.equal(passwords.length)
  })

  it('makes webhook secrets that are valid base64 of at least 24 bytes', () => {
    const { secrets } = ensureSecrets(file)

    for (const name of ['PUBLISH_SECRET', 'DEMO_SECRET']) {
      const [, base64 = ''] = /^whsec_([A-Za-z0-9]+)$/.exec(secrets[name] ?? '') ?? []
      expect(Buffer.from(base64, 'base64').toString('base64')).to.equal(base64)
      expect(Buffer.from(base64, 'base64').length).to.be.at.least(24)
    }
  })

  it('never overwrites what is there and adds only what is missing', () => {
    const first = ensureSecrets(file).secrets
    const kept = readFileSync(file, 'utf8').replace(/^PROOF_KEY=.*\n/m, '')
    writeFileSync(file, `${kept}PUBLISH_URL=https://example.org/hook\n`)

    const second = ensureSecrets(file)

    expect(second.created).to.equal(false)
    expect(second.secrets['MINIO_ROOT_PASSWORD']).to.equal(first['MINIO_ROOT_PASSWORD'])
    expect(second.secrets['PROOF_KEY'])
      .to.match(/^\w{48}$/)
      .and.not.equal(first['PROOF_KEY'])
    expect(second.secrets['PUBLISH_URL']).to.equal('https://example.org/hook')
  })

  it('leaves a complete file untouched to the byte', () => {
    ensureSecrets(file)
    const before = readFileSync(file, 'utf8')

    ensureSecrets(file)

    expect(readFileSync(file, 'utf8')).to.equal(before)
  })

  it('takes back read rights that others have', () => {
    ensureSecrets(file)
    chmodSync(file, 0o644)

    ensureSecrets(file)

    expect(statSync(file).mode & 0o077).to.equal(0)
  })

  it('reads quotes, exports, comments and Windows line ends', () => {
    expect(
      parseEnvFile('# A=1\r\nB="two words"\r\nexport C=3\nD=\'x=y\'\nnonsense\nE=\n'),
    ).to.deep.equal({
      B: 'two words',
      C: '3',
      D: 'x=y',
      E: '',
    })
  })
})
