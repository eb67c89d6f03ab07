// `init object-store` against the real stores of this machine: what it makes, that it does so once, and who may do what afterwards.
import { expect } from 'chai'
import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { Client } from 'minio'
import { createAuthority, issueServer } from '../../services/init/x509.ts'
import { errorCode } from '../../services/shared/errors.ts'
import { bucketProbeKey } from '../../services/shared/object-store.ts'
import { eventually } from '../support/eventually.ts'
import { runInit } from '../support/run-init.ts'
import { noMinio, startStore, type RealStore } from '../support/real-store.ts'
import { testCerts } from '../support/test-certs.ts'
import { freePorts, testFolder } from '../support/test-process.ts'
import { noTlsRabbitmq, startTlsRabbitmq, type TlsRabbitmq } from '../support/tls-rabbitmq.ts'

const secret = (name: string) => `${name}0123456789abcdef01234567`
const bucket = 'storagebucket'
const records = 'avscan-records'
const vhosts = new Map<TlsRabbitmq, string>()

/** A broker with the topology, so that the store can start with its events on. */
async function preparedBroker(): Promise<{ broker: TlsRabbitmq; vhost: string }> {
  const broker = await startTlsRabbitmq()
  const known = vhosts.get(broker)
  if (known !== undefined) return { broker, vhost: known }
  const vhost = await broker.addVhost()
  const run = await runInit(['broker'], {
    ...broker.env({ vhost }),
    RABBITMQ_DEFAULT_PASS: broker.adminPassword,
    RABBITMQ_REGULAR_USER_PASS: secret('store'),
    AVSCAN_BROKER_PASSWORD: secret('avscan'),
    NOTIFIER_BROKER_PASSWORD: secret('notifier'),
    RECONCILER_BROKER_PASSWORD: secret('reconciler'),
    STORE_AUDIT_BROKER_PASSWORD: secret('store-audit'),
  })
  expect(run.code, run.stdout).to.equal(0)
  vhosts.set(broker, vhost)
  return { broker, vhost }
}

/** `allowed`, or the store's refusal. */
const attempt = async (act: () => Promise<unknown>): Promise<string> => {
  try {
    await act()
    return 'allowed'
  } catch (error) {
    return errorCode(error) ?? String(error)
  }
}

/** What mc prints when somebody with these keys runs it. */
function mcSays(
  store: RealStore,
  user: string,
  password: string,
  args: readonly string[],
): Promise<string> {
  const { port, certs } = store
  const folder = testFolder('mc')
  mkdirSync(join(folder, 'certs/CAs'), { recursive: true })
  copyFileSync(certs.ca, join(folder, 'certs/CAs/ca.crt'))
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    MC_CONFIG_DIR: folder,
    MC_HOST_store: `https://${user}:${password}@127.0.0.1:${port}`,
  }
  return new Promise((resolve) => {
    execFile(
      store.env()['MC_BIN'] ?? 'mc',
      [...args],
      { env, timeout: 30_000 },
      (_, stdout, stderr) => resolve(stdout + stderr),
    )
  })
}

for (const flavour of ['minio', 'versitygw'] as const)
  describe(`init object-store on ${flavour}`, function () {
    this.timeout(180_000)
    let store: RealStore
    let broker: TlsRabbitmq
    let vhost: string
    let env: Record<string, string>

    before(async function () {
      const why = noTlsRabbitmq ?? (flavour === 'minio' ? noMinio : undefined)
      if (why !== undefined) {
        console.log(`      skipped: ${why}`)
        this.skip()
      }
      ;({ broker, vhost } = await preparedBroker())
      store = await startStore({
        flavour,
        broker,
        vhost,
        brokerUser: 'rabbituser',
        brokerPassword: secret('store'),
      })
      env = {
        ...store.env(),
        MINIO_BUCKET_NAME: bucket,
        MINIO_USER_PASSWORD: secret('uploader'),
        AVSCAN_STORE_PASSWORD: secret('avscan'),
        RECONCILER_STORE_PASSWORD: secret('reconciler'),
        CANARY_STORE_PASSWORD: secret('canary'),
        INIT_TIMEOUT: '20',
      }
    })

    const client = (user: string, password: string) =>
      new Client({
        endPoint: '127.0.0.1',
        port: store.port,
        useSSL: true,
        region: store.region,
        accessKey: user,
        secretKey: password,
        pathStyle: true,
        transportAgent: new Agent({ ca: readFileSync(store.certs.ca) }),
        retryOptions: { disableRetry: true },
      })
    const root = () => client(store.rootUser, store.rootPassword)
    const uploader = () => client('miniouser', secret('uploader'))
    const avscan = () => client('avscan', secret('avscan'))
    const reconciler = () => client('reconciler', secret('reconciler'))
    const canary = () => client('avscan-canary', secret('canary'))

    it('creates everything, and the second run finds everything as wanted', async () => {
      const first = await runInit(['object-store'], env)
      const second = await runInit(['object-store'], env)

      expect(first.code, first.stdout).to.equal(0)
      expect(first.lines).to.include(`bucket ${bucket}: created`)
      expect(first.lines).to.include(`bucket ${records}: created`)
      expect(first.lines).to.include(`versioning of ${bucket}: turned on`)
      expect(first.lines).to.include('user avscan: created')
      expect(second.code, second.stdout).to.equal(0)
      expect(second.lines.at(-1), second.stdout).to.equal('object-store: nothing to do')
      for (const line of [first.stdout, second.stdout])
        expect(line).not.to.match(/0123456789abcdef/)
    })

    it('leaves in the records bucket what workers must know of the bucket', async () => {
      const found = await text(await avscan().getObject(records, bucketProbeKey(bucket)))

      expect(JSON.parse(found)).to.eql({ versioned: true, deleteIfMatch: true })
    })

    it('says what this store can of expiry and of rules', async () => {
      const { stdout } = await runInit(['object-store'], env)

      if (flavour === 'versitygw') {
        expect(stdout).to.include(
          'expiry of noncurrent versions in storagebucket: this store cannot',
        )
        expect(stdout).to.include('VersityGW sends the events of every bucket')
        return
      }
      const rules = JSON.stringify(await root().getBucketLifecycle(bucket))
      expect(rules).to.match(/"NoncurrentDays":"?7/)
    })

    it('changes nothing but the events of a bucket that was there before, unless it is adopted', async () => {
      const theirs = 'invoices'
      await root().makeBucket(theirs, store.region)
      const both = { ...env, MINIO_BUCKET_NAME: `${bucket},${theirs}` }
      const versioning = async () =>
        ((await root().getBucketVersioning(theirs)) as { Status?: string }).Status
      if (flavour === 'versitygw')
        await root().setBucketPolicy(
          theirs,
          JSON.stringify({
            Version: '2012-10-17',
            Statement: [
              {
                Effect: 'Allow',
                Principal: '*',
                Action: ['s3:GetObject'],
                Resource: [`arn:aws:s3:::${theirs}/public/*`],
              },
            ],
          }),
        )

      const first = await runInit(['object-store'], both)

      expect(first.code, first.stdout).to.equal(0)
      expect(first.stdout).to.match(/invoices was there before us and is not versioned/)
      expect(await versioning().catch(() => undefined)).not.to.equal('Enabled')
      if (flavour === 'minio')
        expect(await attempt(() => root().getBucketLifecycle(theirs))).to.equal(
          'NoSuchLifecycleConfiguration',
        )
      else expect(await root().getBucketPolicy(theirs)).to.match(/public/)

      const second = await runInit(['object-store'], { ...both, ADOPT_BUCKETS: theirs })

      expect(second.code, second.stdout).to.equal(0)
      expect(second.lines).to.include(`versioning of ${theirs}: turned on`)
      expect(await versioning()).to.equal('Enabled')
      const third = await runInit(['object-store'], both)
      expect(third.lines.at(-1), third.stdout).to.equal('object-store: nothing to do')

      const wrong = await runInit(['object-store'], { ...env, ADOPT_BUCKETS: 'invoces' })
      expect(wrong.code).to.equal(1)
      expect(wrong.stdout).to.match(/ADOPT_BUCKETS names invoces, which is not scanned/)
    })

    it('goes on with a bucket of its own after it was killed', async () => {
      const ours = 'half-made'
      // As it is after a kill between the bucket and its versioning.
      await root().putObject(records, `made/${ours}`, Buffer.from(new Date().toISOString()))
      await root().makeBucket(ours, store.region)

      const run = await runInit(['object-store'], {
        ...env,
        MINIO_BUCKET_NAME: `${bucket},${ours}`,
      })

      expect(run.lines).to.include(`versioning of ${ours}: turned on`)
    })

    it('lets an upload reach the work queue as one event', async () => {
      await broker.api('DELETE', `/queues/${vhost}/s3minioqueue/contents`)

      await uploader().putObject(bucket, 'a b+c.txt', Buffer.from('hello'))

      const events = await eventually(async () => {
        const got = (await broker.api('POST', `/queues/${vhost}/s3minioqueue/get`, {
          count: 5,
          ackmode: 'ack_requeue_false',
          encoding: 'auto',
        })) as { payload: string }[]
        if (got.length === 0) throw new Error('no event yet')
        return got
      })
      expect(events).to.have.length(1)
      expect(events[0]?.payload).to.match(/ObjectCreated:Put/)
    })

    describe('rights', () => {
      before(async () => {
        await root().putObject(bucket, 'object.txt', Buffer.from('text'))
        await root().putObject(records, 'verdict.json', Buffer.from('{}'))
      })

      it('let the uploader put, get, list and delete in its bucket', async () => {
        const user = uploader()
        expect(await attempt(() => user.putObject(bucket, 'mine', Buffer.from('1')))).to.equal(
          'allowed',
        )
        expect(await attempt(async () => text(await user.getObject(bucket, 'mine')))).to.equal(
          'allowed',
        )
        expect(await attempt(() => user.listObjectsV2(bucket).toArray())).to.equal('allowed')
        expect(await attempt(() => user.removeObject(bucket, 'mine'))).to.equal('allowed')
        expect(await attempt(() => user.bucketExists(bucket))).to.equal('allowed')
      })

      it('keep the uploader out of the records', async () => {
        const user = uploader()
        expect(await attempt(() => user.getObject(records, 'verdict.json'))).to.equal(
          'AccessDenied',
        )
        expect(await attempt(() => user.putObject(records, 'x', Buffer.from('1')))).to.equal(
          'AccessDenied',
        )
        expect(await attempt(() => user.listObjectsV2(records).toArray())).to.equal('AccessDenied')
      })

      it('keep the uploader from writing our tag, as far as the store can', async () => {
        const ours = await attempt(() =>
          uploader().setObjectTagging(bucket, 'object.txt', { scanned: 'clean' }),
        )
        const proof = await attempt(() =>
          uploader().setObjectTagging(bucket, 'object.txt', { 'scanned-proof': '1.0.x.y' }),
        )
        // VersityGW knows no conditions: there the proof alone tells our verdicts from theirs.
        const expected = flavour === 'minio' ? 'AccessDenied' : 'allowed'
        expect([ours, proof]).to.eql([expected, expected])
        const own = await attempt(() =>
          uploader().setObjectTagging(bucket, 'object.txt', { project: 'x' }),
        )
        expect(own).to.equal('allowed')
      })

      it('keep the uploader from changing bucket, policy and versioning', async () => {
        const user = uploader()
        expect(
          await attempt(() => user.setBucketVersioning(bucket, { Status: 'Suspended' })),
        ).to.equal('AccessDenied')
        expect(await attempt(() => user.setBucketPolicy(bucket, '{}'))).to.equal('AccessDenied')
        expect(await attempt(() => user.makeBucket('another-bucket', store.region))).not.to.equal(
          'allowed',
        )
      })

      it('let avscan read, tag, list versions and delete a version', async () => {
        const user = avscan()
        expect(
          await attempt(async () => text(await user.getObject(bucket, 'object.txt'))),
        ).to.equal('allowed')
        expect(
          await attempt(() => user.setObjectTagging(bucket, 'object.txt', { scanned: 'clean' })),
        ).to.equal('allowed')
        expect(await attempt(() => user.getObjectTagging(bucket, 'object.txt'))).to.equal('allowed')
        const { versionId } = await root().statObject(bucket, 'object.txt')
        expect(
          await attempt(() =>
            user.removeObject(bucket, 'object.txt', { versionId: versionId ?? '' }),
          ),
        ).to.equal('allowed')
      })

      it('let avscan write and read records, and upload nothing', async () => {
        const user = avscan()
        expect(await attempt(() => user.putObject(records, 'r/1', Buffer.from('{}')))).to.equal(
          'allowed',
        )
        expect(await attempt(async () => text(await user.getObject(records, 'r/1')))).to.equal(
          'allowed',
        )
        expect(await attempt(() => user.putObject(bucket, 'x', Buffer.from('1')))).to.equal(
          'AccessDenied',
        )
        expect(
          await attempt(() => user.setBucketVersioning(bucket, { Status: 'Suspended' })),
        ).to.equal('AccessDenied')
      })

      it('let the reconciler look at every object, its tags and its versions', async () => {
        const user = reconciler()
        await root().putObject(bucket, 'seen.txt', Buffer.from('text'))
        await root().setObjectTagging(bucket, 'seen.txt', { scanned: 'clean' })
        const { versionId = '' } = await root().statObject(bucket, 'seen.txt')

        const stat = await user.statObject(bucket, 'seen.txt')
        expect(stat.versionId).to.equal(versionId)
        expect(
          await attempt(() => user.statObject(bucket, 'seen.txt', { versionId: versionId ?? '' })),
        ).to.equal('allowed')
        expect(await attempt(() => user.getObjectTagging(bucket, 'seen.txt'))).to.equal('allowed')
        expect(
          await attempt(() =>
            user.getObjectTagging(bucket, 'seen.txt', { versionId: versionId ?? '' }),
          ),
        ).to.equal('allowed')
        expect(
          await attempt(() =>
            user.listObjects(bucket, '', true, { IncludeVersion: true }).toArray(),
          ),
        ).to.equal('allowed')
        // Not a refusal: a version that is gone must be known as gone.
        expect(await attempt(() => user.statObject(bucket, 'not there'))).to.equal('NotFound')
      })

      it('let the reconciler change nothing but its own canary objects', async () => {
        const user = reconciler()
        await root().putObject(bucket, 'kept.txt', Buffer.from('text'))
        const { versionId } = await root().statObject(bucket, 'kept.txt')
        for (const [what, act] of Object.entries({
          put: () => user.putObject(bucket, 'x', Buffer.from('1')),
          tag: () => user.setObjectTagging(bucket, 'kept.txt', { scanned: 'clean' }),
          delete: () => user.removeObject(bucket, 'kept.txt'),
          'delete a version': () =>
            user.removeObject(bucket, 'kept.txt', { versionId: versionId ?? '' }),
        }))
          expect(await attempt(act), what).to.equal('AccessDenied')

        const key = 'avscan-canary/end-to-end'
        const put = await user.putObject(bucket, key, Buffer.from('1'))
        expect(await attempt(() => user.getObjectTagging(bucket, key))).to.equal('allowed')
        expect(
          await attempt(() => user.removeObject(bucket, key, { versionId: put.versionId ?? '' })),
        ).to.equal('allowed')
        expect(await attempt(() => root().statObject(bucket, key))).to.equal('NotFound')
      })

      it('let the reconciler read and write records, and delete those of verdicts only', async () => {
        const user = reconciler()
        expect(await attempt(() => user.putObject(records, 'r/2', Buffer.from('{}')))).to.equal(
          'allowed',
        )
        expect(await attempt(async () => text(await user.getObject(records, 'r/2')))).to.equal(
          'allowed',
        )
        expect(await attempt(() => user.getObject(records, 'not there'))).to.equal('NoSuchKey')
        const verdict = 'verdicts/b/00/1.json'
        await user.putObject(records, verdict, Buffer.from('{}'))
        expect(await attempt(() => user.removeObject(records, verdict))).to.equal('allowed')
        expect(await attempt(() => user.removeObject(records, 'r/2'))).to.equal('AccessDenied')
      })

      it('keep applications from the objects of the canary', async () => {
        const key = 'avscan-canary/reconciler/probe.txt'
        const { versionId } = await canary().putObject(bucket, key, Buffer.from('1'))
        for (const [what, act] of Object.entries({
          put: () => uploader().putObject(bucket, 'avscan-canary/x', Buffer.from('1')),
          'put where its folder is': () =>
            uploader().putObject(bucket, 'avscan-canary', Buffer.from('1')),
          tag: () => uploader().setObjectTagging(bucket, key, { scanned: 'clean' }),
          delete: () => uploader().removeObject(bucket, key),
          'delete a version': () =>
            uploader().removeObject(bucket, key, { versionId: versionId ?? '' }),
        }))
          expect(await attempt(act), what).to.equal('AccessDenied')
        expect(await attempt(() => root().statObject(bucket, key))).to.equal('allowed')
        await root().removeObject(bucket, key, { versionId: versionId ?? '' })
      })

      // VersityGW as well takes them for paths; a Deny on them refused every deletion there.
      if (flavour === 'minio')
        it('keep applications from deleting by a path out of their bucket', async () => {
          const victims = ['avscan-canary/victim', 'p/kept']
          for (const key of victims) await root().putObject(bucket, key, Buffer.from('1'))
          await root().putObject(records, 'victim', Buffer.from('1'))
          const keys = [
            `../${records}/victim`,
            `x/../../${records}/victim`,
            './avscan-canary/victim',
            'x/../avscan-canary/victim',
            'x/./../p/kept',
            '../p/kept',
          ]
          for (const key of keys)
            await uploader()
              .removeObjects(bucket, [key])
              .catch(() => undefined)
          for (const key of victims)
            expect(await attempt(() => root().statObject(bucket, key)), key).to.equal('allowed')
          expect(await attempt(() => root().statObject(records, 'victim'))).to.equal('allowed')
          for (const key of ['p/kept', 'a..b', 'v1./x', '.../ok']) {
            await uploader().putObject(bucket, key, Buffer.from('1'))
            await uploader().removeObjects(bucket, [key])
            expect(await attempt(() => root().statObject(bucket, key)), key).to.equal('NotFound')
          }
          await root().removeObject(bucket, 'avscan-canary/victim')
          await root().removeObject(records, 'victim')
        })

      it('let the canary work under its prefix only', async () => {
        const user = canary()
        const key = 'avscan-canary/probe'
        expect(await attempt(() => user.putObject(bucket, key, Buffer.from('1')))).to.equal(
          'allowed',
        )
        expect(await attempt(() => user.getObjectTagging(bucket, key))).to.equal('allowed')
        expect(await attempt(() => user.removeObject(bucket, key))).to.equal('allowed')
        expect(await attempt(() => user.putObject(bucket, 'elsewhere', Buffer.from('1')))).to.equal(
          'AccessDenied',
        )
        expect(await attempt(() => user.getObject(records, 'verdict.json'))).to.equal(
          'AccessDenied',
        )
      })

      if (flavour === 'minio') {
        it('keep everybody of ours from making keys that outlive theirs, and from changing passwords', async () => {
          for (const [user, password] of [
            ['miniouser', 'uploader'],
            ['avscan', 'avscan'],
            ['reconciler', 'reconciler'],
            ['avscan-canary', 'canary'],
          ] as const) {
            const said = (...args: string[]) => mcSays(store, user, secret(password), args)
            const key = ['admin', 'accesskey', 'create', 'store', user]
            expect(await said(...key), user).to.match(/Access Denied/)
            const change = ['admin', 'user', 'add', 'store', user, secret('changed')]
            expect(await said(...change), user).to.match(/Access Denied/)
          }
          expect(await attempt(() => uploader().bucketExists(bucket))).to.equal('allowed')
        })

        it('are told of as too many where somebody has keys from before', async () => {
          const create = [
            'admin',
            'accesskey',
            'create',
            'store',
            'avscan',
            '--access-key',
            'older',
          ]
          await mcSays(store, store.rootUser, store.rootPassword, create)

          const { stdout } = await runInit(['object-store'], env)

          expect(stdout).to.include('user avscan has made access keys of its own: older;')
          const remove = ['admin', 'accesskey', 'rm', 'store', 'older']
          await mcSays(store, store.rootUser, store.rootPassword, remove)
          expect((await runInit(['object-store'], env)).stdout).not.to.include('access keys')
        })

        it('let the uploader work with versions in every way but to choose one', async () => {
          const user = uploader()
          const put = await user.putObject(bucket, 'versions', Buffer.from('1'))
          const versionId = put.versionId ?? ''
          for (const [what, act] of Object.entries({
            get: () => user.getObject(bucket, 'versions', { versionId }),
            stat: () => user.statObject(bucket, 'versions', { versionId }),
            tag: () => user.setObjectTagging(bucket, 'versions', { a: 'b' }, { versionId }),
            list: () => user.listObjects(bucket, '', true, { IncludeVersion: true }).toArray(),
            copy: () => user.copyObject(bucket, 'copied', `/${bucket}/versions`),
            parts: () => user.putObject(bucket, 'parts', Buffer.alloc(6 * 2 ** 20), 6 * 2 ** 20),
            delete: () => user.removeObject(bucket, 'versions', { versionId }),
          }))
            expect(await attempt(act), what).to.equal('allowed')
        })

        it('are brought up to date where an earlier init has made them', async () => {
          const folder = testFolder('policy')
          const file = join(folder, 'old.json')
          const statement = { Effect: 'Allow', Action: ['s3:*'], Resource: ['arn:aws:s3:::*'] }
          writeFileSync(file, JSON.stringify({ Version: '2012-10-17', Statement: [statement] }))
          const name = 'avscan-uploader'
          const create = ['admin', 'policy', 'create', 'store', name, file]
          await mcSays(store, store.rootUser, store.rootPassword, create)

          const run = await runInit(['object-store'], env)

          expect(run.lines, run.stdout).to.include(`policy ${name}: changed`)
        })
      }

      it('give nothing to somebody without keys', async () => {
        expect(await attempt(() => client('', '').getObject(bucket, 'a b+c.txt'))).to.equal(
          'AccessDenied',
        )
      })
    })

    it('sets a changed password, and the old one stops working', async () => {
      const run = await runInit(['object-store'], {
        ...env,
        CANARY_STORE_PASSWORD: secret('other'),
      })

      expect(run.lines, run.stdout).to.include('user avscan-canary: changed')
      const changed = client('avscan-canary', secret('other'))
      await eventually(() => changed.putObject(bucket, 'avscan-canary/x', Buffer.from('1')))
      const old = canary().putObject(bucket, 'avscan-canary/x', Buffer.from('1'))
      expect(await old.catch((error: unknown) => errorCode(error))).to.equal(
        'SignatureDoesNotMatch',
      )
    })

    it('sets it back', async () => {
      expect((await runInit(['object-store'], env)).lines).to.include('user avscan-canary: changed')
    })

    it('takes several buckets', async () => {
      const run = await runInit(['object-store'], {
        ...env,
        MINIO_BUCKET_NAME: `${bucket},second-bucket`,
      })

      expect(run.code, run.stdout).to.equal(0)
      expect(run.lines).to.include('bucket second-bucket: created')
      await uploader().putObject('second-bucket', 'x', Buffer.from('1'))
    })

    if (flavour === 'minio') minioRules(() => ({ root: root(), env }))

    describe('when it cannot', () => {
      it('says that root’s password is wrong', async () => {
        const run = await runInit(['object-store'], {
          ...env,
          MINIO_ROOT_PASSWORD: 'wrong-password',
        })

        expect(run.code).to.equal(1)
        expect(run.lines.at(-1)).to.match(/refuses the root user "storeroot"/)
        expect(run.hint).to.include('MINIO_ROOT_PASSWORD')
      })

      it('waits for a store that is not there, and then names it', async () => {
        const [port] = await freePorts(1)
        const url = `https://127.0.0.1:${port}`
        const run = await runInit(['object-store'], {
          ...env,
          MINIO_SERVER_URL: url,
          INIT_TIMEOUT: '1',
        })

        expect(run.code).to.equal(1)
        expect(run.lines.at(-1)).to.match(/store https:.* did not answer within 1 s.*ECONNREFUSED/)
      })

      it('names a host that does not exist', async () => {
        const url = 'https://nowhere.invalid:9000'
        const run = await runInit(['object-store'], {
          ...env,
          MINIO_SERVER_URL: url,
          INIT_TIMEOUT: '1',
        })

        expect(run.code).to.equal(1)
        expect(run.lines.at(-1)).to.match(/nowhere\.invalid.*(ENOTFOUND|EAI_AGAIN)/)
      })

      it('says that the CA is another', async () => {
        const file = join(testFolder('ca'), 'ca.pem')
        writeFileSync(file, (await createAuthority(new Date())).certificate)
        const run = await runInit(['object-store'], { ...env, TLS_CA: file })

        expect(run.code).to.equal(1)
        expect(run.lines.at(-1)).to.include('its certificate')
      })

      it('says that the store’s certificate has expired', async () => {
        const expired = await startStore({ flavour, certificate: await expiredCertificate() })
        try {
          const run = await runInit(['object-store'], { ...env, MINIO_SERVER_URL: expired.url })

          expect(run.code).to.equal(1)
          expect(run.lines.at(-1)).to.include('its certificate has expired')
        } finally {
          await expired.kill()
        }
      })

      it('names every missing secret at once', async () => {
        const run = await runInit(['object-store'], store.env())

        for (const name of [
          'MINIO_USER_PASSWORD',
          'AVSCAN_STORE_PASSWORD',
          'RECONCILER_STORE_PASSWORD',
          'CANARY_STORE_PASSWORD',
        ])
          expect(run.stdout).to.include(`${name}: required by init`)
      })
    })

    it('--print shows policies and commands without secrets', async () => {
      const run = await runInit(['object-store', '--print'], env)

      expect(run.code).to.equal(0)
      expect(run.stdout)
        .to.include('"s3:GetObjectVersion"')
        .and.include(flavour === 'minio' ? 'mc admin' : 'versitygw admin')
      expect(run.stdout)
        .not.to.include(store.rootPassword)
        .and.not.match(/0123456789abcdef/)
    })
  })

async function expiredCertificate() {
  const { folder } = await testCerts()
  const pair = await issueServer({
    authority: {
      certificate: readFileSync(join(folder, 'private/ca.pem'), 'utf8'),
      key: readFileSync(join(folder, 'private/ca.key'), 'utf8'),
    },
    names: ['127.0.0.1'],
    now: new Date(),
    notAfter: new Date(Date.now() - 60_000),
  })
  const place = testFolder('expired')
  const files = { certificate: join(place, 'cert.pem'), key: join(place, 'key.pem') }
  writeFileSync(files.certificate, pair.certificate)
  writeFileSync(files.key, pair.key, { mode: 0o600 })
  return files
}

function minioRules(get: () => { root: Client; env: Record<string, string> }) {
  const arn = 'arn:minio:sqs:eu-west-1:FAST:amqp'
  const put = async (name: string, rule: object) => {
    const { root } = get()
    if (!(await root.bucketExists(name))) await root.makeBucket(name)
    await root.setBucketNotification(name, { QueueConfiguration: [rule] } as never)
  }
  const run = (name: string) =>
    runInit(['object-store'], { ...get().env, MINIO_BUCKET_NAME: `${bucket},${name}` })

  it('refuses a rule for the same target with other events, naming both', async () => {
    await put('rule-other', { Queue: arn, Event: ['s3:ObjectCreated:*'] })
    const { code, lines } = await run('rule-other')

    expect(code).to.equal(1)
    expect(lines.at(-1)).to.match(/with the events .*s3:ObjectCreated:(\*|PutTagging)/)
    expect(lines.at(-1)).to.include('wanted: s3:ObjectCreated:Put,')
  })

  it('refuses a rule for the same target that sees a part of the bucket only', async () => {
    const kinds = ['Put', 'Post', 'Copy', 'CompleteMultipartUpload']
    await put('rule-part', {
      Queue: arn,
      Event: kinds.map((kind) => `s3:ObjectCreated:${kind}`),
      Filter: { S3Key: { FilterRule: [{ Name: 'prefix', Value: 'only/' }] } },
    })
    const { code, lines } = await run('rule-part')

    expect(code).to.equal(1)
    expect(lines.at(-1)).to.include('only/')
  })
}
