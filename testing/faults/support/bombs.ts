// Zips of some hundred bytes that keep the engine busy for half a minute each.
import type { Uploader } from '../../support/uploader.ts'
import { zipBomb } from './archives.ts'

/** Uploads them; `takeBack` deletes those versions, for to wait until all are scanned would take minutes. */
export async function putBombs(uploader: Uploader, prefix: string, count: number) {
  const { bucket, client } = uploader
  const bytes = zipBomb(20)
  const uploaded = await Promise.all(
    Array.from({ length: count }, (_, index) => uploader.put(`${prefix}bomb-${index}.zip`, bytes)),
  )
  const takeBack = async () => {
    for (const { key, versionId } of uploaded)
      await client.removeObject(bucket, key, versionId === undefined ? {} : { versionId })
  }
  return { uploaded, takeBack }
}
