// Which dead letters somebody means: `--reason --origin --bucket --key --older-than`. All that are given must fit.
import { FatalError } from '../shared/errors.ts'
import type { Letter } from './letter.ts'

/** Options of parseArgs, the same for `dead` and `replay`. */
export const filterOptions = {
  reason: { type: 'string' },
  origin: { type: 'string' },
  bucket: { type: 'string' },
  key: { type: 'string' },
  'older-than': { type: 'string' },
} as const

export type FilterValues = { [name in keyof typeof filterOptions]?: string | undefined }

export type LetterFilter = (letter: Letter) => boolean

/** @param now in milliseconds. @throws FatalError when a value cannot be read. */
export function createFilter(values: FilterValues, now = Date.now()): LetterFilter {
  const { reason, origin, bucket, key } = values
  const age = values['older-than']
  const before = age === undefined ? undefined : now - parseAge(age)
  return (letter) =>
    (reason === undefined || letter.reason === reason) &&
    (origin === undefined || letter.origin === origin) &&
    // One and the same object must be in the bucket and begin with the key.
    ((bucket === undefined && key === undefined) ||
      letter.objects.some(
        (object) =>
          (bucket === undefined || object.bucket === bucket) &&
          (key === undefined || object.key.startsWith(key)),
      )) &&
    // Of unknown age is not known to be old.
    (before === undefined || (letter.diedAt !== undefined && letter.diedAt.getTime() <= before))
}

export function isFiltered(values: FilterValues): boolean {
  return Object.keys(filterOptions).some((name) => values[name as keyof FilterValues] !== undefined)
}

const unitMs: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `90s`, `15m`, `2h`, `3d` in milliseconds. @throws FatalError */
export function parseAge(text: string): number {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  if (count === undefined)
    throw new FatalError(`--older-than ${text} is no duration`, 'for instance 90s, 15m, 2h or 3d')
  return Number(count) * (unitMs[unit] ?? 0)
}

/** @throws FatalError when it is no whole number above 0. */
export function parseLimit(text: string): number {
  const limit = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(limit) || limit < 1)
    throw new FatalError(`--limit ${text} is no number above 0`, 'for instance --limit 20')
  return limit
}
