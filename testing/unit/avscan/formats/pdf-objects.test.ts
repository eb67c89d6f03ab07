import { expect } from 'chai'
import { countPdfObjects } from '../../../../services/avscan/formats/pdf-objects.ts'
import { look } from '../../../../services/avscan/formats/look.ts'
import { Seen } from '../../../../services/avscan/formats/seen.ts'
import { bytesOf, type Source } from '../../../../services/avscan/formats/source.ts'

const header = '%PDF-1.7\n'
const never = new AbortController().signal

/** Read in steps of that size, as a file that comes in pieces is. */
async function reasonsFor(text: string, stepBytes = 65_536): Promise<number[]> {
  const whole = bytesOf(Buffer.from(text, 'latin1'))
  const source: Source = {
    size: whole.size,
    read: (at, length) => whole.read(at, Math.min(length, stepBytes)),
  }
  const seen = new Seen(never)
  await countPdfObjects(source, seen, '')
  return seen.problems.map(({ reason }) => reason)
}

const plain = (count: number) =>
  Array.from({ length: count }, (_, index) => `${index} 0 obj<</A 1>>endobj\n`).join('')

describe('the objects of a PDF', () => {
  it('may be as many as ClamAV looks at', async () => {
    expect(await reasonsFor(header + plain(65_536))).to.deep.equal([])
  })

  it('are too many with one more', async () => {
    expect(await reasonsFor(header + plain(65_537))).to.deep.equal([102])
  })

  for (const stepBytes of [1, 3, 17, 1000])
    it(`are counted once in steps of ${stepBytes} bytes`, async () => {
      const objects = plain(9) + '10 0 obj<</Type/ObjStm/N 65527>>stream'

      expect(await reasonsFor(header + objects, stepBytes)).to.deep.equal([102])
      expect(await reasonsFor(header + objects.replace('65527', '65526'), stepBytes)).to.deep.equal(
        [],
      )
    })

  it('are counted in compressed streams, also where the name is written with an escape', async () => {
    expect(await reasonsFor(`${header}1 0 obj<</Type/ObjStm/#4e 70000/First 9>>`)).to.deep.equal([
      102,
    ])
  })

  for (const [title, before, expected] of [
    ['of a PDF', '', [102]],
    ['of one whose header does not stand first', 'junk '.repeat(100), [102]],
    ['not of another file', 'x'.repeat(2000), []],
  ] as const)
    it(`are looked at when an object is looked into: ${title}`, async () => {
      const seen = new Seen(never)
      await look(bytesOf(Buffer.from(before + header + plain(65_537))), 'a.pdf', seen)

      expect(seen.problems.map(({ reason }) => reason)).to.deep.equal(expected)
    })
})
