// What the application does in a row: a mixed stream of uploads, overwrites and deletions, with what each version must end as.
// The same seed gives the same stream.
import { createHash, randomBytes } from 'node:crypto'
import { samples, zipOf } from '../support/samples.ts'
import type { Expected } from './types.ts'

export interface PlannedPut {
  /** Below the row's prefix. */
  name: string
  bytes(): Buffer
  expected: Expected
  tags?: Readonly<Record<string, string>>
  what: string
}

/** Done one after the other; several plans run at a time. `version` deletes what was put last, `marker` only hides it. */
export type Plan = (PlannedPut | { remove: 'version' | 'marker' })[]

/** Small, fast and good enough for choosing. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

const oddNames = [
  'a b+c.txt',
  '100%.txt',
  'a%20b%2Fc+.txt',
  'Grüße/日本語/🦠.txt',
  `it's "so" <b>&amp;</b> [x]{y}.txt`,
  'a?b=c&d=e#f;g.txt',
  '~a/.hidden/..b/c...txt',
  'double//slash.txt',
  `${'p'.repeat(200)}/`.repeat(4) + 'long.txt',
]

// Made up: only avscan can write one that holds.
const lies = {
  scanned: 'clean',
  'scanned-proof': '2.0.0.20261121T040002345Z.20261121T040002345Z...AAAAAAAAAAAAAAAAAAAAAA',
}
const fullOfTags = Object.fromEntries(
  Array.from({ length: 10 }, (_, index) => [`t${index}`, `v${index}`]),
)

/**
 * At least `count` uploads. VersityGW can lose an upload that comes in the same instant as the deletion of the version before
 * it (`keepsOverwrites` false): there an infected version is the last of its key.
 */
export function planMix(count: number, random: () => number, keepsOverwrites: boolean): Plan[] {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  let serial = 0
  const unique = () => `${++serial} ${random()}`
  const text = (bytes: number) => {
    const line = `a harmless letter ${unique()}\n`
    return () => Buffer.from(line.repeat(Math.ceil(bytes / line.length)).slice(0, bytes))
  }
  const size = () => Math.round(100 * 200 ** random())
  const infection = () => {
    const mark = `\n${unique()}`
    return () => Buffer.concat([samples.eicar(), Buffer.from(mark)])
  }
  const clean = (name: string, more: Partial<PlannedPut> = {}): PlannedPut => {
    const bytes = text(size())
    return { name, bytes, expected: 'clean', what: 'clean', ...more }
  }
  const infected = (name: string, more: Partial<PlannedPut> = {}): PlannedPut => ({
    name,
    bytes: infection(),
    expected: 'infected',
    what: 'eicar',
    ...more,
  })
  const either = (name: string, more: Partial<PlannedPut> = {}) =>
    random() < 0.3 ? infected(name, more) : clean(name, more)
  const large = (bytes: number, bad: boolean): PlannedPut => {
    const last = bad ? infection()() : Buffer.alloc(0)
    const content = samples.large(bytes, last)
    return {
      name: `large-${bytes}-${bad}`,
      bytes: () => content,
      expected: bad ? 'infected' : 'clean',
      what: `${bytes} bytes`,
    }
  }

  const kinds: [number, (name: string) => Plan][] = [
    [48, (name) => [clean(`${name}.txt`)]],
    [12, (name) => [infected(`${name}.com`)]],
    [2, (name) => [infected(`${name}-plain.com`, { bytes: samples.eicar, what: 'plain eicar' })]],
    [
      4,
      (name) => {
        const member = `${unique()}.com`
        const bytes = () => zipOf([{ name: member, bytes: samples.eicar() }])
        return [infected(`${name}.zip`, { bytes, what: 'zip with eicar' })]
      },
    ],
    [
      4,
      (name) => {
        const content = samples.encryptedZip()
        const what = 'encrypted zip'
        return [{ name: `${name}-x.zip`, bytes: () => content, expected: 'unscannable', what }]
      },
    ],
    [3, (name) => [clean(`${name}-empty`, { bytes: samples.empty, what: 'empty' })]],
    [7, (name) => [either(`${name}/${pick(oddNames)}`, { what: 'odd key' })]],
    [
      6,
      (name) =>
        [0, 1, 2].map((index) =>
          (keepsOverwrites || index === 2 ? either : clean)(`${name}-again`, {
            what: 'overwritten key',
          }),
        ),
    ],
    [
      1,
      (name) => {
        const bytes = text(500)
        const put = clean(`${name}-twice`, { bytes, what: 'the same bytes twice' })
        return [put, put]
      },
    ],
    [3, (name) => [either(`${name}-gone`, { what: 'deleted' }), { remove: 'version' }]],
    [3, (name) => [either(`${name}-hidden`, { what: 'hidden' }), { remove: 'marker' }]],
    [
      4,
      (name) => [either(`${name}-tags`, { tags: { project: 'x y', code: '007' }, what: 'tags' })],
    ],
    [1, (name) => [either(`${name}-ten`, { tags: fullOfTags, what: 'ten tags' })]],
    [3, (name) => [either(`${name}-liar`, { tags: lies, what: 'self-made clean tag' })]],
  ]
  const total = kinds.reduce((sum, [weight]) => sum + weight, 0)
  const choose = () => {
    let at = random() * total
    return kinds.find(([weight]) => (at -= weight) < 0)?.[1] ?? kinds[0]?.[1]
  }

  const plans: Plan[] = [[large(5_000_000, false)], [large(20_000_000, true)]]
  let puts = plans.length
  while (puts < count) {
    const plan = choose()?.(`${puts}-${Math.floor(random() * 1e6)}`) ?? []
    puts += plan.filter((step) => 'name' in step).length
    plans.push(plan)
  }
  // The large ones in the middle, where the fault is.
  for (const index of plans.length > 2 ? [0, 1] : [])
    plans.splice(Math.floor(plans.length * (0.3 + 0.3 * index)), 0, ...plans.splice(0, 1))
  return plans
}

export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
export const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex')
export const randomSeed = () => randomBytes(4).readUInt32LE()
