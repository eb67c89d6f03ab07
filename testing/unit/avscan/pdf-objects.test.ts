import { expect } from 'chai'
import { PdfObjects } from '../../../services/avscan/pdf-objects.ts'

const header = '%PDF-1.7\n'

function findingFor(text: string, chunkBytes = 65_536) {
  const bytes = Buffer.from(text, 'latin1')
  const objects = new PdfObjects()
  for (let at = 0; at < bytes.length; at += chunkBytes)
    objects.write(bytes.subarray(at, at + chunkBytes))
  return objects.finding()
}

const plain = (count: number) =>
  Array.from({ length: count }, (_, index) => `${index} 0 obj<</A 1>>endobj\n`).join('')

const tooMany = { status: 'unscannable', reason: 102 }

describe('the objects of a PDF', () => {
  it('may be as many as ClamAV looks at', () => {
    expect(findingFor(header + plain(65_536))).to.equal(undefined)
  })

  it('are too many with one more', () => {
    expect(findingFor(header + plain(65_537))).to.include(tooMany)
  })

  for (const chunkBytes of [1, 3, 17, 1000])
    it(`are counted once in chunks of ${chunkBytes} bytes`, () => {
      const objects = plain(9) + '10 0 obj<</Type/ObjStm/N 65527>>stream'

      expect(findingFor(header + objects, chunkBytes)?.status).to.equal('unscannable')
      expect(findingFor(header + objects.replace('65527', '65526'), chunkBytes)).to.equal(undefined)
    })

  it('are counted in compressed streams, also where the name is written with an escape', () => {
    expect(findingFor(`${header}1 0 obj<</Type/ObjStm/#4e 70000/First 9>>`)).to.include(tooMany)
  })

  it('are looked for behind a header that does not stand first', () => {
    expect(findingFor('junk '.repeat(100) + header + plain(65_537))).to.include(tooMany)
  })

  it('are none of a file that is no PDF', () => {
    expect(findingFor(plain(65_537))).to.equal(undefined)
    expect(findingFor('x'.repeat(2000) + header + plain(65_537))).to.equal(undefined)
  })
})
