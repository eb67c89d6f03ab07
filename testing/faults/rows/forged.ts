// What is not what it was: other bytes under the identity of an object that has its verdict, and versions called null.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { storeRoot } from '../../support/deployment.ts'
import { eventually } from '../../support/eventually.ts'
import { ways, type Way } from '../../support/forged-writes.ts'
import { samples } from '../../support/samples.ts'
import type { FaultContext, OwnObjects, Row } from '../types.ts'
import { forget, requestSweep, stopWorkers, wakeWorkers, withReconciler } from './steps.ts'

const perWay = 3
const harmless = Buffer.alloc(samples.eicar().length, 'x')

/**
 * Harmless objects get their verdicts and are deleted; the virus comes under their version ids and ETags, in each of these ways.
 * It must be found and deleted, whatever is proven about that identity.
 */
async function forge(context: FaultContext, how: readonly Way[]): Promise<OwnObjects> {
  const { deployment, receiver, say, traffic, uploader } = context
  const root = storeRoot(context.deployment)
  const ca = readFileSync(deployment.uploader.caFile, 'utf8')
  try {
    const objects = await Promise.all(
      how.flatMap((way) =>
        Array.from({ length: perWay }, async (_, index) => {
          const key = `${traffic.prefix}${how.indexOf(way)}-${index}`
          return { way, ...(await uploader.put(key, harmless)) }
        }),
      ),
    )
    for (const object of objects) await uploader.awaitTag(object)
    // Their sources, for a copy, must not be found before they are copied.
    await stopWorkers(context)
    for (const { key, versionId, etag, way } of objects) {
      await uploader.client.removeObject(uploader.bucket, key, { versionId: versionId ?? '' })
      // Those of its ways that the policy refuses are tried as somebody whom it does not bind.
      const writer = way.refused ? root : uploader
      const version = versionId ?? randomUUID()
      await way.write(
        { client: writer.client, bucket: uploader.bucket, ca },
        { key, version, etag, body: samples.eicar() },
      )
    }
    say(`${objects.length} objects are others now, in ${how.length} ways`)
    wakeWorkers(context)
    await eventually(
      async () => {
        const left = await root.versions(traffic.prefix)
        if (left.length > 0) throw new Error(`the virus is still there: ${JSON.stringify(left)}`)
      },
      { timeoutMs: 120_000, everyMs: 500 },
    )
    await eventually(
      () => {
        for (const { key, way } of objects) {
          const told = receiver.requests.some(
            ({ body, status = 0 }) =>
              status < 300 &&
              body.type === 'object.scan.infected' &&
              body.data.s3ObjectDetails.objectKey === key,
          )
          if (!told) throw new Error(`no webhook tells of the virus in ${key} (${way.name})`)
        }
      },
      { timeoutMs: 60_000 },
    )
    return { objects: objects.length, scans: 0 }
  } finally {
    root.close()
  }
}

const withAudit: Row['needs'] = ({ parts }) =>
  parts.has('store-audit') ? undefined : 'the store has no audit log'

const withEvent = ways.filter(({ event }) => event)
const silent = ways.filter(({ event, named }) => !event && named)
const archives = ways.filter(({ named }) => !named)

/** Objects from before versioning: alone, behind a newer version, and as the current one of a key that has others. */
async function beforeVersioning(context: FaultContext, isLost: boolean): Promise<void> {
  const { traffic, uploader } = context
  const root = storeRoot(context.deployment)
  const versioning = (Status: 'Enabled' | 'Suspended') =>
    root.client.setBucketVersioning(root.bucket, { Status })
  const put = async (name: string, index: number, isNull: boolean) => {
    const isBad = index % 2 === 0
    const bytes = isBad
      ? Buffer.concat([samples.eicar(), Buffer.from(`\n${name} ${index} ${isNull}`)])
      : Buffer.from(`a letter ${name} ${index} ${isNull}`)
    const { key, versionId, etag } = await uploader.put(`${traffic.prefix}${name}-${index}`, bytes)
    const version = isNull ? 'null' : versionId
    traffic.record({ key, versionId: version, etag }, bytes, isBad ? 'infected' : 'clean', name)
  }
  try {
    await stopWorkers(context)
    await versioning('Suspended')
    for (let index = 0; index < 8; index++)
      for (const name of ['alone', 'behind']) await put(name, index, true)
    await versioning('Enabled')
    for (let index = 0; index < 8; index++) await put('behind', index + 1, false)
    if (isLost) await forget(context, context.flavour === 'minio')
  } finally {
    await versioning('Enabled')
    root.close()
    wakeWorkers(context)
  }
  if (isLost) await requestSweep(context)
}

export const forgedRows: readonly Row[] = [
  {
    name: 'forged-event',
    title: 'the virus under the identity of a clean object, with an event',
    short: true,
    stores: ['minio'],
    objects: 0,
    inject: (context) => forge(context, withEvent),
  },
  {
    name: 'forged-silent',
    title: 'the same without an event, in all ways that the audit log names',
    short: true,
    stores: ['minio'],
    needs: withAudit,
    objects: 0,
    inject: (context) => forge(context, silent),
  },
  {
    name: 'forged-archive',
    title: 'the same from archives that the store unpacks, with and without events',
    stores: ['minio'],
    needs: withAudit,
    objects: 0,
    inject: (context) => forge(context, archives),
  },
  {
    name: 'audit-down',
    title:
      'the same without an event while the receiver of the audit log is killed again and again',
    stores: ['minio'],
    needs: withAudit,
    objects: 0,
    inject: async (context) => {
      const { parts } = context
      const end = new AbortController()
      const killing = (async () => {
        while (!end.signal.aborted) {
          try {
            parts.signal('store-audit', 'SIGKILL')
          } catch {
            // It is down at the moment, as it should be.
          }
          await new Promise((resolve) => setTimeout(resolve, 200))
        }
      })()
      setTimeout(() => end.abort(), 20_000)
      try {
        return await forge(context, silent)
      } finally {
        end.abort()
        await killing
        await parts.ready('store-audit')
      }
    },
  },
  {
    name: 'null-versions',
    title: 'versions called null, behind newer ones too, told by events',
    objects: 0,
    inject: (context) => beforeVersioning(context, false),
  },
  {
    name: 'null-versions-swept',
    title: 'versions called null from before anybody listened, found by a sweep',
    short: true,
    needs: withReconciler,
    objects: 0,
    inject: (context) => beforeVersioning(context, true),
  },
]
