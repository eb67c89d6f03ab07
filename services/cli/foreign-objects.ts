// Would `make clean` delete somebody's objects? Those of the demo and the canary are nobody's.
import { isCanary } from '../shared/canary-objects.ts'
import { listBuckets, openStore } from './client.ts'
import { isOfDemo } from './demo.ts'
import type { Runtime } from './runtime.ts'

/** A key that the demo did not put there, `none`, or `unknown` when the store does not answer. */
export async function findForeignObjects(runtime: Runtime): Promise<string> {
  const access = await runtime.access()
  const store = openStore(access, access.root, 3000)
  try {
    // Also those that nobody has had scanned: they go with the store.
    for (const bucket of await listBuckets(access, access.root))
      for await (const { key, etag, deleteMarker } of store.versions(bucket, ''))
        if (
          bucket !== access.recordsBucket &&
          !deleteMarker &&
          !isOfDemo(key) &&
          !isCanary(key, { md5: etag })
        )
          return `s3://${bucket}/${key}`
    return 'none'
  } catch {
    return 'unknown'
  } finally {
    store.close()
  }
}
