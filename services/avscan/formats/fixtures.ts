// The EICAR test file in each container format and method that could be made; testing/fixtures/containers/make.py made them.
import { readFileSync } from 'node:fs'
import { inflateRawSync } from 'node:zlib'

/** So that no scanner finds a file of this product that it should not. */
const mask = 0x5a

let held: ReadonlyMap<string, string> | undefined

function all(): ReadonlyMap<string, string> {
  held ??= new Map(
    Object.entries(
      JSON.parse(readFileSync(new URL('fixtures.json', import.meta.url), 'utf8')) as Record<
        string,
        string
      >,
    ),
  )
  return held
}

export function fixtureKinds(): string[] {
  return [...all().keys()]
}

/** Undefined: nobody could make one, so nobody can say that an engine opens it. */
export function fixtureOf(kind: string): Buffer | undefined {
  const hidden = all().get(kind)
  if (hidden === undefined) return undefined
  return inflateRawSync(Buffer.from(hidden, 'base64').map((byte) => byte ^ mask))
}
