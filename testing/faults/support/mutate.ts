// Messages that nobody means to send: real events and jobs with bytes and nodes changed at random, and plain noise.
import { randomBytes } from 'node:crypto'
import { events, type EventSample } from '../../fixtures/events.ts'

export interface Target {
  bucket: string
  key: string
  versionId: string | undefined
  etag: string
}

type Random = () => number

const jobs = ({ bucket, key, versionId, etag }: Target, kinds: readonly string[]) =>
  kinds.map((kind) => ({
    objects: [{ bucket, key, versionId, etag, size: 1, previous: 'clean' }],
    trigger: { kind, id: 'mutated' },
  }))

/** Every dialect's event, and every kind of job, about an object that is there. */
export function realMessages(target: Target): object[] {
  const about = events.map((event) => eventAbout(event, target))
  return [...about, ...jobs(target, ['manual', 'verify', 'sweep', 'rescan'])]
}

/** As the two bundled stores would send it, and as a job. */
export function forgedMessages(target: Target): object[] {
  const about = events
    .filter(({ store }) => store === 'MinIO' || store === 'VersityGW')
    .map((event) => eventAbout(event, target))
  return [...about, ...jobs(target, ['manual'])]
}

function eventAbout({ store, body }: EventSample, target: Target): object {
  const { bucket, key, versionId, etag } = target
  const form = encodeURIComponent(key).replaceAll('%20', '+')

  const message = structuredClone(body) as Record<string, unknown>
  for (const record of (message['Records'] ?? []) as { s3: Record<string, unknown> }[]) {
    const name = store === 'VersityGW' ? key : form
    // VersityGW's bucket ARN holds the path once more, and is what counts.
    const arn = store === 'VersityGW' ? `arn:aws:s3:::/${bucket}/${key}` : `arn:aws:s3:::${bucket}`
    Object.assign(record.s3['bucket'] as object, { name: bucket, arn })
    Object.assign(record.s3['object'] as object, {
      key: name,
      versionId: versionId ?? null,
      eTag: etag,
    })
  }
  return message
}

const oddValues: readonly (() => unknown)[] = [
  () => null,
  () => undefined,
  () => true,
  () => 0,
  () => -1,
  () => 1e308,
  () => '',
  () => 'null',
  () => '../../../../etc/passwd',
  () => '%',
  () => '%00%zz',
  () => '\u0000\u001b[2J\u202e',
  () => '\ud800',
  () => 'x'.repeat(5000),
  () => [],
  () => [[]],
  () => ({}),
  () => ({ toString: 1, __proto__: null, constructor: {} }),
  () => nestedArray(500),
]

function nestedArray(depth: number): unknown {
  let value: unknown = []
  for (let level = 0; level < depth; level++) value = [value]
  return value
}

/** One more or less broken form of one of `messages`. */
export function mutated(messages: readonly object[], random: Random): Buffer {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  const kind = random()
  if (kind < 0.05) return randomBytes(Math.floor(random() * 300))
  const message = structuredClone(pick(messages))
  if (kind < 0.6) {
    const count = 1 + Math.floor(random() * 3)
    for (let change = 0; change < count; change++) changeNode(message, random, pick)
    return Buffer.from(JSON.stringify(message) ?? 'undefined')
  }
  return changeBytes(Buffer.from(JSON.stringify(message)), random)
}

function changeNode(message: unknown, random: Random, pick: <T>(from: readonly T[]) => T): void {
  const places: [Record<string, unknown>, string][] = []
  const collect = (node: unknown) => {
    if (typeof node !== 'object' || node === null) return
    for (const key of Object.keys(node)) {
      places.push([node as Record<string, unknown>, key])
      collect((node as Record<string, unknown>)[key])
    }
  }
  collect(message)
  if (places.length === 0) return
  const [node, key] = pick(places)
  const how = random()
  if (how < 0.25) delete node[key]
  else if (how < 0.35) node[key] = [node[key], node[key]]
  else if (how < 0.45) node[`${key}\u0000`] = node[key]
  else if (how < 0.55) node[key] = structuredClone(pick(places)[0])
  else node[key] = pick(oddValues)()
}

function changeBytes(bytes: Buffer, random: Random): Buffer {
  const at = () => Math.floor(random() * bytes.length)
  const how = random()
  if (how < 0.25) return bytes.subarray(0, at())
  if (how < 0.35) return Buffer.concat([bytes.subarray(0, at()), bytes.subarray(at())])
  if (how < 0.45) return Buffer.concat([bytes, bytes.subarray(at())])
  const changed = Buffer.from(bytes)
  const count = 1 + Math.floor(random() * 8)
  for (let change = 0; change < count; change++) changed[at()] = Math.floor(random() * 256)
  return changed
}
