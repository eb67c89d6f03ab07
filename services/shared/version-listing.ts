// A bucket's versions page by page, from any key on. Stores agree on the words of the request and differ in what they mean:
//   VersityGW  names keys as they are and ignores encoding-type; a page may begin with the version of its marker; a key-marker
//              alone includes that key; a marker whose version has been deleted meanwhile ends the listing, with nothing said
//   MinIO      adds `[minio_cache:…]` to its markers; a key-marker alone excludes that key
import { XMLParser } from 'fast-xml-parser'
import { queryEncode } from './s3-request.ts'

export interface ObjectVersion {
  key: string
  /** `null` also where the bucket is unversioned. */
  versionId: string | undefined
  etag: string
  lastModified: Date
  size: number
  deleteMarker: boolean
}

export interface VersionPage {
  versions: ObjectVersion[]
  /** Every version of every key up to this one has been listed: a later listing may begin after it. */
  after: string
}

interface Marker {
  key: string
  versionId: string
}
interface Answer {
  versions: ObjectVersion[]
  next: Marker | undefined
  /** Keys are named exactly, whatever is in them. */
  exact: boolean
}
interface ListedVersion {
  Key: string
  VersionId?: string
  ETag?: string
  LastModified?: string
  Size?: string
}

/** `ask` sends a GET of the bucket with that query and resolves with the body. `after`: of a page before, '' for the beginning. */
export async function* listVersionPages(
  ask: (query: string) => Promise<string>,
  prefix: string,
  after = '',
): AsyncGenerator<VersionPage, void, undefined> {
  let marker: Marker = { key: after, versionId: '' }
  let complete = after
  let unfinished = { key: '', versions: new Set<string>() }
  let pageSize = fewest
  for (;;) {
    let answer = parseVersions(await ask(versionsQuery(prefix, marker, pageSize)))
    // Either the end, or VersityGW no longer knows the marker's version.
    if (marker.versionId !== '' && answer.versions.length === 0 && answer.next === undefined)
      answer = parseVersions(
        await ask(versionsQuery(prefix, { key: complete, versionId: '' }, pageSize)),
      )
    const fresh = answer.versions.filter(
      ({ key, versionId }) =>
        (key !== complete || complete === '') &&
        !(key === unfinished.key && unfinished.versions.has(versionId ?? '')),
    )
    const { next } = answer
    if (next === undefined) {
      yield { versions: fresh, after: fresh.at(-1)?.key ?? complete }
      return
    }
    const endKey = answer.versions.some(({ key }) => key === next.key)
      ? next.key
      : next.key.replace(/\[minio_cache:[^\]]*\]$/, '')
    const lastComplete = fresh.findLast((one) => !one.deleteMarker && one.key !== endKey)?.key
    if (fresh.length === 0 && next.key === marker.key && next.versionId === marker.versionId)
      throw new Error(`the listing does not get beyond ${JSON.stringify(next.key)}`)

    const named = answer.exact ? undefined : lastNamed(fresh, endKey)
    if (named !== undefined && endKey.includes(unknown)) {
      // A key-marker with what stands for an unknown character sorts elsewhere than its key: whole ranges would be left out.
      // (A page that holds nothing but such keys has no better marker.)
      const end = fresh.findLastIndex((one) => !one.deleteMarker && one.key === named)
      yield { versions: fresh.slice(0, end + 1), after: named }
      complete = named
      marker = { key: named, versionId: '' }
      unfinished = { key: '', versions: new Set() }
      continue
    }
    complete = lastComplete ?? complete
    // One key may have more versions than there are pages to copy them for.
    if (unfinished.key !== endKey) unfinished = { key: endKey, versions: new Set() }
    for (const { key, versionId } of fresh)
      if (key === endKey) unfinished.versions.add(versionId ?? '')
    // To answer for one page the store reads all versions of its key, so that many small pages of one take very long.
    const isOfOne = fresh.every(({ key }) => key === endKey) && endKey.length <= longKey
    pageSize = isOfOne ? most : fewest
    yield { versions: fresh, after: complete }
    marker = next
  }
}

/** What a store without url-encoding writes for a character that XML cannot hold. */
const unknown = '\uFFFD'

function lastNamed(versions: readonly ObjectVersion[], endKey: string): string | undefined {
  return versions.findLast(
    ({ key, deleteMarker }) => !deleteMarker && key !== endKey && !key.includes(unknown),
  )?.key
}

// A page of 1,000 long keys costs the reconciler 17 MB more at its peak.
const [fewest, most, longKey] = [250, 1000, 256]

function versionsQuery(prefix: string, marker: Marker, pageSize: number): string {
  const parts = [
    'versions',
    'encoding-type=url',
    `max-keys=${pageSize}`,
    `prefix=${queryEncode(prefix)}`,
  ]
  if (marker.key !== '') parts.push(`key-marker=${queryEncode(marker.key)}`)
  if (marker.versionId !== '') parts.push(`version-id-marker=${queryEncode(marker.versionId)}`)
  return parts.join('&')
}

// VersityGW writes an apostrophe as &#39;, which is read with htmlEntities only.
const xml = new XMLParser({
  parseTagValue: false,
  htmlEntities: true,
  trimValues: false,
  isArray: (name) => ['Version', 'DeleteMarker'].includes(name),
})

function parseVersions(body: string): Answer {
  const { ListVersionsResult: result } = xml.parse(body) as {
    ListVersionsResult: {
      EncodingType?: string
      IsTruncated?: string
      NextKeyMarker?: string
      NextVersionIdMarker?: string
      Version?: ListedVersion[]
      DeleteMarker?: ListedVersion[]
    }
  }
  // VersityGW says that it ignored encoding-type by leaving EncodingType out or empty.
  const exact = result.EncodingType === 'url'
  const decode = (key: string) => (exact ? decodeURIComponent(key.replaceAll('+', ' ')) : key)
  const version = (deleteMarker: boolean) => (one: ListedVersion) => ({
    key: decode(one.Key),
    versionId: one.VersionId === '' ? undefined : one.VersionId,
    etag: (one.ETag ?? '').replaceAll(/"|&#34;|&quot;/g, ''),
    lastModified: new Date(one.LastModified ?? 0),
    size: Number(one.Size ?? 0),
    deleteMarker,
  })
  return {
    // The versions last: their order is the listing's, and what is complete is told by it.
    versions: [
      ...(result.DeleteMarker ?? []).map(version(true)),
      ...(result.Version ?? []).map(version(false)),
    ],
    next:
      result.IsTruncated === 'true'
        ? { key: decode(result.NextKeyMarker ?? ''), versionId: result.NextVersionIdMarker ?? '' }
        : undefined,
    exact,
  }
}
