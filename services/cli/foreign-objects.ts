// Would `make clean` delete somebody's objects? Those of the demo and the canary are nobody's.
import { isCanary } from '../shared/canary-objects.ts'
import { openStore } from './client.ts'
import type { Runtime } from './runtime.ts'

/** A key that the demo did not put there, `none`, or `unknown` when the store does not answer. */
export async function findForeignObjects(runtime: Runtime): Promise<string> {
  const access = await runtime.access()
  const store = openStore(access, access.uploader, 3000)
  try {
    for (const bucket of access.buckets)
      for await (const { key, etag, deleteMarker } of store.versions(bucket, ''))
        if (!deleteMarker && !key.startsWith('demo/') && !isCanary(key, { md5: etag }))
          return `s3://${bucket}/${key}`
    return 'none'
  } catch {
    return 'unknown'
  } finally {
    store.close()
  }
}
