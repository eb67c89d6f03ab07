// Archives made to be more than an engine can look into.
import { eventually } from '../../support/eventually.ts'
import { cutArchives, hostileArchives } from '../support/archives.ts'
import { workersUnharmed } from '../support/unharmed.ts'
import { outcomeOf } from '../webhooks.ts'
import type { FaultContext, Row } from '../types.ts'

/** Between a bomb and the next one the engine may take its time. */
const patienceMs = 240_000

/** The verdict webhooks about a key, as they come. */
async function verdictOf({ receiver }: FaultContext, key: string): Promise<string> {
  return eventually(
    () => {
      const found = receiver.requests.find(
        (one) =>
          one.body.data.s3ObjectDetails.objectKey === key &&
          one.body.type.startsWith('object.scan.'),
      )
      if (found === undefined) throw new Error(`no verdict about ${key}`)
      return outcomeOf(found)
    },
    { timeoutMs: patienceMs, everyMs: 200 },
  )
}

/** Uploads it beside the counted stream, for what the engine finds in it is the engine's choice. */
async function judge(context: FaultContext, name: string, bytes: Buffer): Promise<string> {
  const key = `archives-${context.traffic.prefix}${name}`
  const object = await context.uploader.put(key, bytes)
  const verdict = await verdictOf(context, key)
  const there = (await context.uploader.get(key, object.versionId)) !== undefined
  if (verdict !== 'infected' && !there) throw new Error(`${name} is ${verdict}, and deleted`)
  return verdict
}

const seen = ['infected', 'unscannable']

export const hostileArchiveRows: readonly Row[] = [
  {
    name: 'hostile-archives',
    title: 'nested archives, bombs, crowds and truncated archives',
    // A limit that a bomb exceeds soon, and the time that it needs for that.
    settings: { MAX_OBJECT_BYTES: '30000000', ENGINE_TIMEOUT_MS: '200000' },
    async inject(context) {
      const unharmed = workersUnharmed(context.parts)
      const found = new Map<string, string>()
      for (const { name, bytes } of hostileArchives)
        found.set(name, await judge(context, name, bytes()))
      for (const [name, verdict] of found)
        if (verdict !== 'infected' && verdict !== 'unscannable')
          throw new Error(`${name} is ${verdict}`)
      const cut = cutArchives.map(({ name, bytes }) => judge(context, name, bytes()))
      const verdicts = await Promise.all(cut)
      for (const [index, verdict] of verdicts.entries()) {
        const name = cutArchives[index]?.name ?? ''
        // Cut between two members, a tar is a shorter tar.
        const right = name.endsWith('.tar') ? ['clean', ...seen] : seen
        if (!right.includes(verdict)) throw new Error(`${name} is ${verdict}`)
      }
      context.say([...found].map(([name, verdict]) => `${name}: ${verdict}`).join(', '))
      unharmed()
    },
    expectations: { quietMs: 240_000 },
  },
]
