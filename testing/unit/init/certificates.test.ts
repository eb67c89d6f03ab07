import { expect } from 'chai'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { Agent, request } from 'undici'
import {
  ensureCertificates,
  serverFiles,
  serverKinds,
  type CertificateOptions,
} from '../../../services/init/certificates.ts'
import { certificateOptions } from '../../../services/init/init-certificates.ts'
import { asWanted } from '../../../services/init/report.ts'
import { createAuthority, issueServer } from '../../../services/init/x509.ts'
import { loadConfig } from '../../../services/shared/config.ts'
import { FatalError } from '../../../services/shared/errors.ts'
import { rejection } from '../../support/rejection.ts'

const day = 24 * 3600 * 1000
const now = new Date('2026-11-21T12:00:00Z')

describe('ensureCertificates', () => {
  let root: string
  let options: CertificateOptions

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'test-certs-'))
    const rootsFile = join(root, 'roots.pem')
    writeFileSync(rootsFile, `${rootCertificates[0]}\n`)
    options = {
      folder: join(root, 'certs'),
      names: {
        store: ['minio-service'],
        broker: ['mq-service'],
        'store-audit': ['store-audit'],
        'clamav-rest': ['clamd-service'],
      },
      owners: {},
      rootsFile,
      now,
    }
  })
  afterEach(() => rmSync(root, { recursive: true, force: true }))

  const at = (name: string) => join(options.folder, name)
  const read = (name: string) => readFileSync(at(name), 'utf8')
  const mode = (name: string) => (statSync(at(name)).mode & 0o777).toString(8)
  const run = async (changed: Partial<CertificateOptions> = {}) => {
    const said: Record<string, string> = {}
    const warnings: string[] = []
    await ensureCertificates(
      { ...options, ...changed },
      {
        say: (thing, outcome) => void (said[thing] = outcome),
        warn: (text) => void warnings.push(text),
        changes: 0,
      },
    )
    return { said, warnings }
  }

  const every = ['minio-service', 'mq-service', 'clamd-service', 'localhost']
  const place = async (names: readonly string[], notAfter?: Date) => {
    const authority = await createAuthority(now)
    const pair = await issueServer({ authority, names, now, ...(notAfter && { notAfter }) })
    const own = {
      certificate: join(root, 'c.pem'),
      key: join(root, 'k.pem'),
      ca: join(root, 'a.pem'),
    }
    writeFileSync(own.certificate, pair.certificate)
    writeFileSync(own.key, pair.key)
    writeFileSync(own.ca, authority.certificate)
    return own
  }
  const refusal = async (own: NonNullable<CertificateOptions['own']>) =>
    (await rejection(run({ own }))).message

  it('creates a CA and one certificate per server, and then finds them as wanted', async () => {
    const first = await run()
    const second = await run()

    expect(first.said).to.include({
      'certificate authority': 'created',
      'certificate broker': 'created',
    })
    expect(new Set(Object.values(second.said))).to.eql(new Set([asWanted]))
  })

  it('keeps keys to their owner and the CA key in a folder of its own', async () => {
    await run()

    for (const kind of serverKinds) expect(mode(join(kind, serverFiles[kind].key))).to.equal('600')
    expect(mode('private')).to.equal('700')
    expect(mode('private/ca.key')).to.equal('600')
    const elsewhere = readdirSync(options.folder, { recursive: true, encoding: 'utf8' })
    expect(elsewhere.filter((name) => name.endsWith('ca.key'))).to.eql(['private/ca.key'])
  })

  it('mends a mode that somebody loosened', async () => {
    await run()
    chmodSync(at('broker/key.pem'), 0o644)

    await run()

    expect(mode('broker/key.pem')).to.equal('600')
  })

  it('gives each server its own names and this machine’s, and nobody else’s', async () => {
    await run({ names: { ...options.names, broker: ['mq-service', '192.0.2.7'] } })

    const broker = new X509Certificate(read('broker/cert.pem'))
    expect(broker.checkHost('mq-service')).to.equal('mq-service')
    expect(broker.checkHost('localhost')).to.equal('localhost')
    for (const address of ['127.0.0.1', '::1', '192.0.2.7'])
      expect(broker.checkIP(address), address).not.to.equal(undefined)
    expect(broker.checkHost('minio-service')).to.equal(undefined)
  })

  it('is trusted by a client that knows trust/ca.pem, and by no other', async () => {
    await run({ now: new Date() })
    const server = createServer(
      { cert: read('store/public.crt'), key: read('store/private.key') },
      (_, answer) => answer.end('ok'),
    ).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `https://127.0.0.1:${(server.address() as { port: number }).port}/`
    const knowing = new Agent({ connect: { ca: read('trust/ca.pem') } })
    try {
      const answer = await request(url, { dispatcher: knowing })
      expect(await answer.body.text()).to.equal('ok')
      const refusal = await rejection(request(url))
      expect(refusal)
        .to.have.property('code')
        .that.match(/ISSUER|SIGNATURE|SELF_SIGNED/)
    } finally {
      await knowing.close()
      server.close()
    }
  })

  it('puts the system’s roots and our CA into the bundle of the store', async () => {
    await run()

    expect(read('trust/bundle.pem'))
      .to.include(read('trust/ca.pem'))
      .and.include(rootCertificates[0])
  })

  it('leaves a certificate that ends in 31 days', async () => {
    await run()
    const { said } = await run({ now: new Date(now.getTime() + (397 - 31) * day) })

    expect(said['certificate store']).to.equal(asWanted)
  })

  it('makes a certificate that ends within 30 days anew, with the same CA', async () => {
    await run()
    const ca = read('trust/ca.pem')
    const before = read('store/public.crt')

    const { said } = await run({ now: new Date(now.getTime() + 368 * day) })

    expect(said['certificate store']).to.match(/^made anew \(ends on 2027-12-23\)$/)
    expect(read('store/public.crt')).not.to.equal(before)
    expect(read('trust/ca.pem')).to.equal(ca)
  })

  it('renews the CA with its key, so that what it signed stays good', async () => {
    await run()
    const old = new X509Certificate(read('broker/cert.pem'))

    const { said } = await run({ now: new Date(now.getTime() + 3630 * day) })

    expect(said['certificate authority']).to.match(/^renewed with the same key/)
    const renewed = new X509Certificate(read('trust/ca.pem'))
    expect(renewed.validToDate.getTime()).to.be.greaterThan(now.getTime() + 7000 * day)
    expect(old.verify(renewed.publicKey)).to.equal(true)
  })

  it('makes a certificate anew when a name is added, and says which', async () => {
    await run()
    const { said } = await run({
      names: { ...options.names, store: ['minio-service', 'files.example'] },
    })

    expect(said['certificate store']).to.equal('made anew (not for files.example)')
    expect(said['certificate broker']).to.equal(asWanted)
  })

  it('makes a certificate anew whose key does not fit', async () => {
    await run()
    writeFileSync(at('broker/key.pem'), read('store/private.key'))

    expect((await run()).said['certificate broker']).to.equal('made anew (the key does not fit)')
  })

  it('refuses a CA key that does not fit rather than make a new CA', async () => {
    await run()
    writeFileSync(at('private/ca.key'), read('store/private.key'))

    const error = await rejection(run())

    expect(error).to.be.instanceOf(FatalError)
    expect(error.message).to.include('the key does not fit')
  })

  it('gives the files to the owner that is asked for', async function () {
    if (process.getuid?.() !== 0) {
      console.log('      skipped: only root can give files away')
      this.skip()
    }
    await run({ owners: { broker: { uid: 100, gid: 101 } } })

    expect(statSync(at('broker/key.pem'))).to.include({ uid: 100, gid: 101 })
    expect(statSync(at('store/private.key')).uid).to.equal(0)
  })

  describe('with a certificate of your own', () => {
    it('copies it for every server and trusts its CA', async () => {
      const own = await place(every)
      const first = await run({ own })
      const second = await run({ own })

      expect(first.said['certificate store']).to.equal('copied from TLS_CERT')
      expect(second.said['certificate store']).to.equal(asWanted)
      expect(read('broker/key.pem')).to.equal(readFileSync(own.key, 'utf8'))
      expect(read('trust/ca.pem')).to.equal(readFileSync(own.ca, 'utf8'))
    })

    it('lets the store trust the receiver of its audit log, whose name is nobody else’s affair', async () => {
      await run({ own: await place(every) })

      const leaf = new X509Certificate(read('store-audit/server.crt'))
      const trusted = new X509Certificate(read('store/CAs/store-audit.crt'))
      expect(leaf.checkHost('store-audit')).to.equal('store-audit')
      expect(leaf.verify(trusted.publicKey)).to.equal(true)
      expect(read('trust/ca.pem')).not.to.include(read('store/CAs/store-audit.crt'))
    })

    it('refuses one that lacks names, and lists them', async () => {
      expect(await refusal(await place(['mq-service']))).to.match(
        /is not for minio-service, clamd-service$/,
      )
    })

    it('refuses one that has ended', async () => {
      expect(await refusal(await place(every, new Date(now.getTime() - day)))).to.match(
        /ended on 2026-11-20$/,
      )
    })

    it('warns of one that ends soon', async () => {
      const { warnings } = await run({ own: await place(every, new Date(now.getTime() + 5 * day)) })
      expect(warnings).to.have.length(1)
      expect(warnings[0]).to.include('ends on 2026-11-26')
    })

    it('refuses a key of another pair', async () => {
      const own = await place(every)
      writeFileSync(own.key, (await createAuthority(now)).key)
      expect(await refusal(own)).to.include('is not the key of TLS_CERT')
    })

    it('refuses one that TLS_CA did not sign', async () => {
      const own = await place(every)
      writeFileSync(own.ca, (await createAuthority(now)).certificate)
      expect(await refusal(own)).to.include('is not signed by TLS_CA')
    })

    it('names the variable whose file cannot be read', async () => {
      const own = { ...(await place(every)), key: join(root, 'nothing.pem') }
      expect(await refusal(own)).to.include('TLS_KEY: read')
    })
  })
})

describe('certificateOptions', () => {
  const config = loadConfig({
    service: 'init',
    env: { MINIO_SERVER_URL: 'https://[2001:db8::1]:9000', RABBITMQ_ENDPOINT: 'mq.example' },
  })

  it('takes names from service names, settings and TLS_NAMES, and owners from the environment', () => {
    const options = certificateOptions(config, {
      CERTS_DIR: '/certs',
      TLS_NAMES: 'files.example, 192.0.2.7',
      CERTS_BROKER_OWNER: '100:101',
      CERTS_CLAMAV_REST_OWNER: '100',
    })

    expect(options.names.store).to.eql([
      'minio-service',
      '2001:db8::1',
      'files.example',
      '192.0.2.7',
    ])
    expect(options.names.broker).to.include('mq.example').and.not.include('minio-service')
    expect(options.owners).to.eql({ broker: { uid: 100, gid: 101 }, 'clamav-rest': { uid: 100 } })
    expect(options.own).to.equal(undefined)
  })

  it('does not take TLS_CA alone for a certificate of your own', () => {
    expect(certificateOptions(config, { TLS_CA: '/certs/trust/ca.pem' }).own).to.equal(undefined)
  })

  it('names every mistake at once', () => {
    expect(() =>
      certificateOptions(config, {
        CERTS_DIR: 'relative',
        TLS_NAMES: 'a b',
        CERTS_BROKER_OWNER: 'rabbitmq',
        TLS_CERT: '/c.pem',
      }),
    ).to.throw(
      /TLS_NAMES: "a b"[^]*CERTS_BROKER_OWNER[^]*TLS_KEY: required[^]*TLS_CA: required[^]*CERTS_DIR/,
    )
  })
})
