// Everything scanMessage needs, in memory, with what it published at hand.
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InProgress } from '../../services/avscan/in-progress.ts'
import { Marks } from '../../services/avscan/marks.ts'
import { createMetrics } from '../../services/avscan/metrics.ts'
import { Abilities } from '../../services/avscan/formats/abilities.ts'
import { Containers } from '../../services/avscan/formats/containers.ts'
import { Gate, openScanFolder } from '../../services/avscan/scan-folder.ts'
import type { ScanDependencies, ScanMessage } from '../../services/avscan/scan.ts'
import type { Publication } from '../../services/shared/broker.ts'
import { Alike } from '../../services/avscan/alike.ts'
import type { Found } from '../../services/avscan/versions.ts'
import { Turns } from '../../services/avscan/turns.ts'
import { silentLog } from '../../services/shared/log.ts'
import { fakeEngine } from './fake-engine.ts'
import { fakeObjectStore } from './fake-object-store.ts'

export const bucket = 'storagebucket'
export const proofKey = 'k'.repeat(32)

export async function scanBench(
  options: {
    versioned?: boolean
    tags?: boolean
    tagDetail?: boolean
    budgetBytes?: number
    maxObjectBytes?: number
  } = {},
) {
  const store = fakeObjectStore({ versioned: options.versioned ?? true })
  const engine = fakeEngine()
  const published: (Publication & { json: Record<string, never> })[] = []
  const parent = await mkdtemp(join(tmpdir(), 'scan-bench-'))
  const folder = await openScanFolder(parent, options.budgetBytes ?? 10_000_000)
  const tags = options.tags ?? true
  const markOptions = {
    tags,
    tagKey: 'scanned',
    tagDetail: options.tagDetail ?? false,
    recordsBucket: 'avscan-records',
    proofKey,
    oldProofKeys: [],
  }
  const bench = {
    store,
    engine,
    published,
    folder,
    /** Called before each publication; what it throws the publisher throws. */
    beforePublish: (() => {}) as (publication: Publication) => void,
    marks: new Marks(store, markOptions),
    deps: undefined as unknown as ScanDependencies,
    filesLeft: () => readdir(folder.path),
    async close() {
      await folder.close()
      await rm(parent, { recursive: true, force: true })
    },
  }
  bench.deps = {
    store,
    engines: [engine],
    containers: new Containers(new Abilities([engine], silentLog)),
    folder,
    gate: new Gate(),
    inProgress: new InProgress(store, 'records', silentLog),
    alike: new Alike<Found[]>(),
    turns: new Turns({ places: () => 64, reserved: 0 }),
    marks: bench.marks,
    outbox: {
      publisher: {
        connected: true,
        async publish(publication) {
          bench.beforePublish(publication)
          published.push({ ...publication, json: JSON.parse(publication.body.toString()) as never })
        },
        close: async () => {},
      },
      scanQueue: 's3minioqueue',
      actionsQueue: 's3minioqueue.actions',
      endpoints: [],
    },
    metrics: createMetrics(),
    log: silentLog,
    buckets: [bucket],
    maxObjectBytes: options.maxObjectBytes ?? 5_000_000,
    policy: { tags, delete: true },
  }
  return bench
}

export type ScanBench = Awaited<ReturnType<typeof scanBench>>

/** A MinIO event for one object, as a message. */
export function eventMessage(
  object: {
    key: string
    versionId?: string | undefined
    etag?: string
    bucket?: string
    lastModified?: Date | undefined
  },
  about: Partial<ScanMessage> = {},
): ScanMessage {
  const record = {
    eventSource: 'minio:s3',
    eventTime: object.lastModified?.toISOString(),
    eventName: 's3:ObjectCreated:Put',
    s3: {
      bucket: { name: object.bucket ?? bucket },
      object: {
        key: encodeURIComponent(object.key).replaceAll('%20', '+'),
        ...(object.versionId === undefined ? {} : { versionId: object.versionId }),
        ...(object.etag === undefined ? {} : { eTag: object.etag }),
      },
    },
  }
  return asMessage({ Records: [record] }, about)
}

/** As the consumer gives it to the handler. */
function asMessage(content: unknown, about: Partial<ScanMessage>): ScanMessage {
  const { attempt = 1, deliveries = 0, again = attempt > 1 || deliveries > 0, ...rest } = about
  const body = Buffer.from(JSON.stringify(content))
  const { signal } = new AbortController()
  return { body, attempt, deliveries, again, fromStore: false, signal, ...rest }
}

export function jobMessage(
  kind: string,
  objects: unknown[],
  about: Partial<ScanMessage> & { id?: string; previous?: string; after?: Date } = {},
): ScanMessage {
  const { id, previous, after, ...rest } = about
  const named = objects.map((one) => ({ ...(one as object), previous }))
  return asMessage({ objects: named, trigger: { kind, id, after } }, rest)
}
