// What one uploader, or one process of ours that was taken over, can do to others: tags in the wrong moment, keys that are expensive
// to look up, objects that nobody can read, forged actions.
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { actionsQueue, names } from '../../../services/shared/topology.ts'
import { storeRoot } from '../../support/deployment.ts'
import { eventually } from '../../support/eventually.ts'
import { postForm } from '../../support/post-form.ts'
import { samples } from '../../support/samples.ts'
import type { FaultContext, Row, Upload } from '../types.ts'
import { putBombs } from '../support/bombs.ts'
import { stopWorkers, wakeWorkers } from './steps.ts'
import { killAt } from './worker-kills.ts'

/** The application tags what it has uploaded, replacing all tags that are there. */
async function tag({ uploader }: FaultContext, upload: Upload): Promise<void> {
  const { key, versionId } = upload
  const tags = { customer: '4711' }
  const exact = versionId === undefined ? undefined : { versionId }
  await uploader.client.setObjectTagging(uploader.bucket, key, tags, exact)
  upload.tags = tags
}

const textOf = (name: string) => Buffer.from(`the text of ${name} ${randomUUID()}`)

/** Every verdict of a small object beside it, in milliseconds from the store's answer to the webhook. */
async function beside(context: FaultContext, hostile: () => Promise<void>): Promise<number[]> {
  const { receiver, traffic } = context
  const times: number[] = []
  const over = new AbortController()
  const work = hostile().finally(() => over.abort())
  const lookFor = async (name: string) => {
    const upload = await traffic.put(name, textOf(name), 'clean')
    const begun = performance.now()
    await eventually(
      () =>
        receiver.requests.some(
          ({ body, status = 0 }) =>
            status < 300 && body.data.s3ObjectDetails.objectKey === upload?.key,
        ),
      { timeoutMs: 120_000, everyMs: 10 },
    )
    times.push(performance.now() - begun)
  }
  const looks: Promise<void>[] = []
  for (let index = 0; !over.signal.aborted || index < 20; index++) {
    looks.push(lookFor(`other-application-${index}`))
    await pause(250)
  }
  await work
  await Promise.all(looks)
  return times.toSorted((a, b) => a - b)
}

const mostMs = 2000

async function nobodyWaits(context: FaultContext, hostile: () => Promise<void>): Promise<void> {
  const times = await beside(context, hostile)
  const p95 = times[Math.ceil(times.length * 0.95) - 1] ?? Infinity
  context.say(
    `${times.length} small objects beside it: verdict after ${Math.round(times[times.length >> 1] ?? 0)} ms in the median, p95 ${Math.round(p95)} ms`,
  )
  if (p95 > mostMs) throw new Error(`another application waits ${Math.round(p95)} ms at p95`)
}

/** Of objects that the row judges by itself; below the prefix only the stream's may be. */
const aside = ({ prefix }: FaultContext['traffic']) => `aside-${prefix}`

/** Many objects that begin with `stem`, and then that key itself, again and again. */
async function expensiveKey(context: FaultContext, stem: string, times: number, bytes: Buffer) {
  const { say, short, traffic, uploader } = context
  const behind = short ? 500 : 3000
  let next = 0
  const put = async () => {
    for (let index = next++; index < behind; index = next++) {
      const key = `${aside(traffic)}${stem}${index}.txt`
      await uploader.put(key, Buffer.from(key))
    }
  }
  await Promise.all(Array.from({ length: 8 }, put))
  const { queue } = context.broker.config.broker
  await eventually(
    async () => {
      const left = (await context.broker.ready()).get(queue) ?? 0
      if (left > 0) throw new Error(`${left} of them wait for their scan`)
    },
    { timeoutMs: 180_000, everyMs: 200 },
  )
  say(`${behind} objects begin with ${stem}`)
  await nobodyWaits(context, async () => {
    for (let index = 0; index < times; index++)
      await uploader.put(`${aside(traffic)}${stem}`, bytes)
  })
}

async function sameKey(context: FaultContext): Promise<void> {
  const { traffic, uploader } = context
  const key = `${aside(traffic)}same.txt`
  let left = context.short ? 100 : 300
  const put = async () => {
    while (left-- > 0) await uploader.put(key, Buffer.from('the same'))
  }
  await nobodyWaits(context, async () => {
    await Promise.all(Array.from({ length: 8 }, put))
  })
}

/** Bombs of another uploader: of the store's root, who has a key of its own. */
async function bombs(context: FaultContext, count: number): Promise<void> {
  const { deployment, say, short, traffic } = context
  const bomber = storeRoot(deployment)
  const { bucket, client } = bomber
  const { uploaded, takeBack } = await putBombs(bomber, aside(traffic), count)
  await nobodyWaits(context, async () => {
    // Not for anything to happen: so long the others are watched.
    await pause(short ? 15_000 : 40_000)
  })
  const tags = await Promise.all(uploaded.map(({ key }) => client.getObjectTagging(bucket, key)))
  const left = tags.filter((tags) => tags.length === 0).length
  if (left === 0) throw new Error('all bombs had their verdicts before the others were watched')
  say(`${left} of ${count} bombs have no verdict yet`)
  await takeBack()
}

const secretKey = randomBytes(32)
const ownKey = {
  'x-amz-server-side-encryption-customer-algorithm': 'AES256',
  'x-amz-server-side-encryption-customer-key': secretKey.toString('base64'),
  'x-amz-server-side-encryption-customer-key-md5': createHash('md5')
    .update(secretKey)
    .digest('base64'),
}

export const oneUploaderRows: readonly Row[] = [
  {
    name: 'own-tags',
    title: 'the application tags what it has uploaded, before and after the verdict',
    async inject(context) {
      const { traffic, uploader } = context
      await traffic.until(0.2)
      const uploads: Upload[] = []
      const put = async (name: string) => {
        const upload = await traffic.put(name, textOf(name), 'clean')
        if (upload !== undefined) uploads.push(upload)
      }
      for (let index = 0; index < 40; index++) await put(`tagged-${index}`)
      for (const upload of uploads) await uploader.awaitTag(upload)
      // Ours are gone with that, and come back by the check that follows each event, or by a sweep.
      for (const upload of uploads.splice(0)) await tag(context, upload)
      await stopWorkers(context)
      for (let index = 0; index < 40; index++) await put(`early-${index}`)
      for (const upload of uploads) await tag(context, upload)
      wakeWorkers(context)
      await killAt('event:tagged', context)
    },
    expectations: { newIds: true, quietMs: 240_000 },
    async after({ traffic, uploader }) {
      const tagged = traffic.uploads.filter(({ tags }) => tags['customer'] !== undefined)
      for (const upload of tagged) await uploader.awaitTag(upload, 180_000)
    },
  },
  {
    name: 'forged-actions',
    title: "forged jobs that ask for the deletion of clean objects, with the notifier's password",
    async inject(context) {
      const { broker, traffic, uploader } = context
      await traffic.until(0.6)
      const clean = traffic.uploads.filter(
        ({ expected, deleted }) => expected === 'clean' && !deleted,
      )
      const jobs = clean.map(({ key, versionId, etag }) => ({
        action: 'delete',
        object: {
          bucket: uploader.bucket,
          key,
          versionId,
          etag,
          lastModified: new Date().toISOString(),
        },
        verdictId: randomUUID(),
        signature: 'Eicar-Test-Signature',
        seal: randomBytes(16).toString('base64url'),
      }))
      await broker.publish(names.jobs, actionsQueue(broker.config), jobs)
      const dead = async () => {
        const found = (await broker.ready()).get(names.dead) ?? 0
        if (found < jobs.length)
          throw new Error(`${found} of ${jobs.length} forged actions are dead`)
      }
      await eventually(dead, { timeoutMs: 60_000, everyMs: 200 })
      context.say(`${jobs.length} forged actions are dead`)
    },
    expectations: { dead: ({ origin }) => origin.endsWith('.actions') },
  },
  {
    name: 'sse-c',
    title: 'objects under a key of the uploader, and a worker killed in the middle of them',
    stores: ['minio'],
    objects: 0,
    async inject(context) {
      const { receiver, say, traffic, uploader } = context
      const keys = Array.from({ length: 40 }, (_, index) => `${aside(traffic)}secret-${index}`)
      const put = async (key: string) => {
        const object = { bucketName: uploader.bucket, objectName: key, headers: { ...ownKey } }
        const request = { method: 'PUT', ...object }
        const answer = await uploader.client.makeRequestAsync(request, samples.eicar(), [200])
        answer.resume()
      }
      for (const key of keys.slice(0, 20)) await put(key)
      await stopWorkers(context)
      for (const key of keys.slice(20)) await put(key)
      wakeWorkers(context)
      await killAt('event:tagged', context)
      await eventually(
        () => {
          for (const key of keys) {
            const told = receiver.requests.some(
              ({ body, status = 0 }) =>
                status < 300 &&
                body.type === 'object.scan.unscannable' &&
                body.data.s3ObjectDetails.objectKey === key,
            )
            if (!told) throw new Error(`no webhook tells that ${key} cannot be read`)
          }
        },
        { timeoutMs: 60_000 },
      )
      say(`${keys.length} objects are told as unscannable`)
      return { objects: keys.length, scans: 0 }
    },
  },
  {
    name: 'big-headers',
    title:
      'objects whose form gave them headers of 200 KB, and a worker killed in the middle of them',
    stores: ['minio'],
    objects: 0,
    async inject(context) {
      const { deployment, traffic, uploader } = context
      const ca = readFileSync(deployment.uploader.caFile, 'utf8')
      const disposition = `attachment; filename="${'x'.repeat(200_000)}"`
      const put = async (index: number) => {
        const infected = index % 2 === 0
        const key = `${traffic.prefix}long-${index}`
        const bytes = Buffer.concat([
          infected ? samples.eicar() : textOf(key),
          Buffer.from(`\n${key}`),
        ])
        await postForm({ ...uploader, ca }, key, bytes, {
          edit: (policy) => policy.setContentDisposition(disposition),
        })
        const [version] = await uploader.versions(key)
        if (version === undefined) throw new Error(`the form has left no version of ${key}`)
        traffic.record(
          version,
          bytes,
          infected ? 'infected' : 'clean',
          'a long Content-Disposition',
        )
      }
      await stopWorkers(context)
      for (let index = 0; index < 20; index++) await put(index)
      wakeWorkers(context)
      await killAt('event:tagged', context)
      for (let index = 20; index < 40; index++) await put(index)
    },
    expectations: { newIds: true },
  },
  {
    name: 'folder-keys',
    title: '150 uploads of a folder key above thousands of objects, beside another application',
    objects: 0,
    inject: (context) => expensiveKey(context, 'folder/', 150, Buffer.alloc(0)),
  },
  {
    name: 'short-keys',
    title: '40 uploads of a key that thousands of others begin with, beside another application',
    objects: 0,
    inject: (context) => expensiveKey(context, 'k', 40, Buffer.from('short')),
  },
  {
    name: 'same-key',
    title: '300 uploads of the same bytes to one key, beside another application',
    objects: 0,
    inject: sameKey,
    expectations: { quietMs: 120_000 },
  },
  {
    name: 'bombs-8',
    title: '8 zips of some kilobytes that unpack to 2 GB each, beside another application',
    objects: 0,
    inject: (context) => bombs(context, 8),
    expectations: { quietMs: 300_000 },
  },
  {
    name: 'bombs-64',
    title: '64 of them',
    objects: 0,
    inject: (context) => bombs(context, 64),
    expectations: { quietMs: 300_000 },
  },
]
