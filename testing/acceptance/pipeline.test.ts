// The deployed system as its users meet it: S3 in, tags and signed webhooks out. Runs against every runtime and store that is there.
import { expect } from 'chai'
import { randomBytes } from 'node:crypto'
import { openDeployments, type Deployment } from '../support/deployment.ts'
import { eventually } from '../support/eventually.ts'
import { samples } from '../support/samples.ts'
import { createUploader, type Uploaded, type Uploader } from '../support/uploader.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts'

const maxObjectBytes = 8 * 1024 * 1024
const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`

for (const plan of openDeployments()) {
  describe(`the pipeline on ${plan.title}`, function () {
    this.timeout(120_000)
    let receiver: WebhookReceiver
    let deployment: Deployment
    let uploader: Uploader
    const run = randomBytes(4).toString('hex')
    let counter = 0
    /** A key that no other test has. */
    const fresh = (name: string) => `${run}/${++counter}/${name}`

    before(async function () {
      this.timeout(600_000)
      if (plan.skip !== undefined) {
        console.log(`      skipped: ${plan.skip}`)
        this.skip()
      }
      receiver = await startWebhookReceiver({ host: plan.receiverHost, secrets: [secret] })
      deployment = await plan.open({
        SCALE: '2',
        PUBLISH_URL: receiver.url(plan.receiverName),
        PUBLISH_SECRET: secret,
        REPORT_CLEAN: 'true',
        MAX_OBJECT_BYTES: String(maxObjectBytes),
        // The ladder in milliseconds, so that what needs a second try does not take a second.
        RETRY_SCALE: '0.05',
      })
      uploader = createUploader(deployment.uploader)
    })
    after(async function () {
      this.timeout(120_000)
      uploader?.close()
      await deployment?.stop()
      await receiver?.close()
    })

    const webhook = (key: string, type: RegExp, versionId?: string) =>
      eventually(
        () => {
          const seen = receiver.requests.filter(
            ({ body }) => body?.data?.s3ObjectDetails?.objectKey === key,
          )
          const found = seen.find(
            ({ body }) =>
              type.test(body.type) &&
              (versionId === undefined || body.data.s3ObjectDetails.versionId === versionId),
          )
          if (found === undefined)
            throw new Error(
              `no webhook ${type} for ${key}; seen: ${seen.map(({ body }) => body.type).join(', ') || 'none'}`,
            )
          expect(found.verified, 'signature').to.equal(true)
          return found.body
        },
        { timeoutMs: 30_000 },
      )

    it('tags a clean object with a proof and tells it in a signed webhook', async () => {
      const object = await uploader.put(fresh('letter.txt'), samples.clean())

      const tags = await uploader.awaitTag(object)
      const { data } = await webhook(object.key, /scan\.clean$/)

      expect(tags['scanned']).to.equal('clean')
      expect(tags['scanned-proof']).to.match(/^2\.0\./)
      expect(data.scanResultDetails.scanResultStatus).to.equal('CLEAN')
      expect(data.scan.bytes).to.equal(samples.clean().length)
      expect(data.s3ObjectDetails.eTag).to.equal(object.etag)
    })

    it('deletes an infected object so that its version cannot be read any more, and tells both', async () => {
      const object = await uploader.put(fresh('eicar.com'), samples.eicar())

      await uploader.awaitDeleted(object)
      const { data } = await webhook(object.key, /scan\.infected$/)
      await webhook(object.key, /object\.deleted$/)

      expect(data.scanResultDetails.threats[0]?.name).to.match(/eicar/i)
      expect(data.action).to.deep.equal({ type: 'delete' })
      expect((await uploader.versions(object.key)).map((version) => version.key)).to.deep.equal([])
    })

    it('finds what is inside an archive', async () => {
      const object = await uploader.put(fresh('archive.zip'), samples.zipWithEicar())

      await webhook(object.key, /scan\.infected$/)
      await uploader.awaitDeleted(object)
    })

    for (const [title, bytes, reason] of [
      ['an encrypted archive', samples.encryptedZip, 107],
      ['archives nested too deep', () => samples.nested(30), 103],
      ['an object over the limit', () => samples.large(maxObjectBytes + 1), 101],
    ] as const) {
      it(`calls ${title} unscannable with reason ${reason}, and keeps it byte for byte`, async () => {
        const content = bytes()
        const object = await uploader.put(fresh('file.zip'), content)

        const { data } = await webhook(object.key, /scan\.unscannable$/)
        const tags = await uploader.awaitTag(object)

        expect(data.scanResultDetails.statusReasons).to.deep.equal([reason])
        expect(tags['scanned']).to.equal('no')
        expect((await uploader.get(object.key, object.versionId))?.equals(content)).to.equal(true)
      })
    }

    it('scans an empty object', async () => {
      const object = await uploader.put(fresh('empty'), samples.empty())

      expect((await uploader.awaitTag(object))['scanned']).to.equal('clean')
      expect((await webhook(object.key, /scan\.clean$/)).data.scan.bytes).to.equal(0)
    })

    it('scans an object of exactly the limit to its last byte', async () => {
      const object = await uploader.put(
        fresh('large.bin'),
        samples.large(maxObjectBytes, samples.eicar()),
      )

      await webhook(object.key, /scan\.infected$/)
      await uploader.awaitDeleted(object)
    })

    for (const [title, name] of [
      ['a space and a plus', 'a b+c.txt'],
      ['percent signs', '100%.txt'],
      ['what looks encoded', 'a%20b%2Fc+.txt'],
      ['unicode', 'Grüße/日本語/🦠.txt'],
      ['quotes and brackets', `it's "so" <b>&amp;</b> [x]{y}.txt`],
      ['query characters', 'a?b=c&d=e#f;g.txt'],
      ['dots and tildes', '~a/.hidden/..b/c...txt'],
      ['a key of 1024 bytes', `${'p'.repeat(255)}/`.repeat(3)],
    ] as const) {
      it(`takes a key with ${title} as it is`, async () => {
        const clean = fresh(`clean/${name}`).padEnd(name.length > 500 ? 1024 : 0, 'z')
        const bad = fresh(`bad/${name}`).padEnd(name.length > 500 ? 1024 : 0, 'z')

        const cleanObject = await uploader.put(clean, samples.clean())
        const badObject = await uploader.put(bad, samples.eicar())

        expect((await uploader.awaitTag(cleanObject))['scanned']).to.equal('clean')
        await uploader.awaitDeleted(badObject)
        await webhook(clean, /scan\.clean$/)
        await webhook(bad, /scan\.infected$/)
      })
    }

    it('scans a multipart upload as one object', async () => {
      const first = randomBytes(5 * 1024 * 1024)
      const clean = fresh('parts-clean.bin')
      const bad = fresh('parts-bad.bin')

      await uploader.putMultipart(clean, [first, samples.clean()])
      await uploader.putMultipart(bad, [first, samples.eicar()])

      await webhook(clean, /scan\.clean$/)
      await webhook(bad, /scan\.infected$/)
      await uploader.awaitDeleted({ key: bad, versionId: undefined, etag: '' })
      expect((await uploader.get(clean))?.length).to.equal(first.length + samples.clean().length)
    })

    it('judges every version of a key that is overwritten again and again', async () => {
      const key = fresh('overwritten')
      const versions: { object: Uploaded; bad: boolean }[] = []
      for (const index of Array(10).keys()) {
        const bad = index % 2 === 1
        const content = bad
          ? Buffer.concat([samples.eicar(), Buffer.from(`\n${index}`)])
          : Buffer.from(`version ${index}`)
        versions.push({ bad, object: await uploader.put(key, content) })
      }

      for (const { object, bad } of versions) {
        if (bad) await uploader.awaitDeleted(object)
        else expect((await uploader.awaitTag(object))['scanned']).to.equal('clean')
      }
    })

    it('judges both of two uploads of the same bytes', async () => {
      const key = fresh('twice')
      const [first, second] = [
        await uploader.put(key, samples.clean()),
        await uploader.put(key, samples.clean()),
      ]

      expect((await uploader.awaitTag(first))['scanned']).to.equal('clean')
      expect((await uploader.awaitTag(second))['scanned']).to.equal('clean')
    })

    it('goes on when an object is deleted while it is scanned', async () => {
      const key = fresh('vanishing.bin')
      const object = await uploader.put(key, samples.large(7_000_000))
      await uploader.client.removeObject(
        uploader.bucket,
        key,
        object.versionId === undefined ? {} : { versionId: object.versionId },
      )
      const next = await uploader.put(fresh('next.txt'), samples.clean())

      expect((await uploader.awaitTag(next))['scanned']).to.equal('clean')
      expect(await uploader.get(key, object.versionId)).to.equal(undefined)
    })

    it('scans what brings its own scanned=clean, and corrects the tag', async () => {
      const forged = {
        scanned: 'clean',
        'scanned-proof': '2.0.0.20261121T040002345Z.20261121T040002345Z...AAAAAAAAAAAAAAAAAAAAAA',
      }
      const lies = async (name: string, bytes: Buffer) => {
        try {
          return await uploader.put(fresh(name), bytes, forged)
        } catch (error) {
          // A store with conditions in its policies refuses the lie at the door.
          expect((error as { code?: string }).code).to.equal('AccessDenied')
          return undefined
        }
      }
      const bad = await lies('liar.com', samples.eicar())
      const zip = await lies('liar.zip', samples.encryptedZip())

      if (bad !== undefined) await uploader.awaitDeleted(bad)
      if (zip !== undefined)
        await eventually(
          async () => (await uploader.tags(zip.key, zip.versionId))['scanned'] === 'no',
          {
            timeoutMs: 30_000,
          },
        )
    })

    it("keeps the uploader's own tags", async () => {
      const own = { project: 'x y', code: '007', ratio: '1e5', empty: '' }
      const object = await uploader.put(fresh('tagged.txt'), samples.clean(), own)

      expect(await uploader.awaitTag(object)).to.include({ ...own, scanned: 'clean' })
    })

    it('leaves ten tags of the uploader alone and gives the verdict by webhook', async () => {
      const own = Object.fromEntries(
        Array.from({ length: 10 }, (_, index) => [`t${index}`, `v${index}`]),
      )
      const object = await uploader.put(fresh('ten-tags.txt'), samples.clean(), own)

      await webhook(object.key, /scan\.clean$/)

      expect(await uploader.tags(object.key, object.versionId)).to.deep.equal(own)
    })

    it('gives a copy a verdict of its own: the tags that came along prove nothing', async () => {
      const original = await uploader.put(fresh('original.txt'), samples.clean())
      const before = await uploader.awaitTag(original)
      const key = fresh('copy.txt')
      const headers = {
        'x-amz-copy-source': encodeURI(`/${uploader.bucket}/${original.key}`),
        'x-amz-tagging-directive': 'COPY',
      }
      const answer = await uploader.client.makeRequestAsync(
        { method: 'PUT', bucketName: uploader.bucket, objectName: key, headers },
        '',
        [200],
      )
      answer.resume()

      await webhook(key, /scan\.clean$/)

      const after = await uploader.tags(key)
      expect(after['scanned']).to.equal('clean')
      expect(after['scanned-proof']).to.not.equal(before['scanned-proof'])
    })

    it('ignores a folder and scans a key that only looks like one', async () => {
      const next = fresh('after-folder.txt')
      await uploader.put(`${fresh('folder')}/`, samples.empty())
      const object = await uploader.put(next, samples.clean())

      expect((await uploader.awaitTag(object))['scanned']).to.equal('clean')
    })

    it('loses nothing and deletes nothing clean when both workers are killed in the middle of 500 objects', async function () {
      this.timeout(300_000)
      if (deployment.kill === undefined) {
        console.log('      skipped: this deployment gives no process to kill')
        this.skip()
      }
      const kill = deployment.kill
      const uploads: { object: Uploaded; bad: boolean }[] = []
      const before = receiver.requests.length
      let next = 0
      const upload = async () => {
        for (let index = next++; index < 500; index = next++) {
          const bad = index % 10 === 0
          const content = bad
            ? Buffer.concat([samples.eicar(), Buffer.from(`\n${index}`)])
            : Buffer.from(`object ${index} of ${run}`)
          uploads.push({ bad, object: await uploader.put(`${run}/kill/${index}`, content) })
        }
      }
      const uploading = Promise.all(Array.from({ length: 8 }, upload))
      await eventually(() => receiver.requests.length > before + 20, { timeoutMs: 60_000 })
      await kill('avscan-1', 'SIGKILL')
      await kill('avscan-2', 'SIGKILL')
      await uploading

      for (const { object, bad } of uploads) {
        if (bad) {
          await uploader.awaitDeleted(object, 120_000)
          await webhook(object.key, /scan\.infected$/)
        } else {
          expect((await uploader.awaitTag(object, 120_000))['scanned']).to.equal('clean')
          await webhook(object.key, /scan\.clean$/)
          expect(await uploader.get(object.key, object.versionId), object.key).to.not.equal(
            undefined,
          )
        }
      }
      expect(uploads).to.have.length(500)
    })
  })
}
