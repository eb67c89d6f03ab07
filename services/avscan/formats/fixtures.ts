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

/** Filters and methods that few people have ever used: asked only when one comes. */
const rare =
  /^(?:7z:(?!LZMA2?$|BCJ\+LZMA2?$|BZip2$)|xz:(?!blocks|streams)|lha:|exe:|tar:(?!several)|arj|cab:no|compress|disk|fat|lzop|cpio:|mail:|pdf:blanks|zip:behind|uuencode|vmdk|tnef|xar)/

/** What engines are asked ahead. */
export function everydayKinds(): string[] {
  return fixtureKinds().filter((kind) => !rare.test(kind))
}

/** Undefined: nobody could make one, so nobody can say that an engine opens it. */
export function fixtureOf(kind: string): Buffer | undefined {
  const hidden = all().get(kind)
  if (hidden === undefined) return undefined
  return inflateRawSync(Buffer.from(hidden, 'base64').map((byte) => byte ^ mask))
}
