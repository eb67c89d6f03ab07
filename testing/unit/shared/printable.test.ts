import { expect } from 'chai'
import { printable } from '../../../services/shared/printable.ts'

describe('printable', () => {
  for (const [what, char] of [
    ['an escape', '\u001b'],
    ['a line feed', '\n'],
    ['a C1 control', '\u009b'],
    ['a soft hyphen', '\u00ad'],
    ['a direction override', '\u202e'],
    ['a direction isolate', '\u2066'],
    ['a zero-width space', '\u200b'],
    ['a line separator', '\u2028'],
    ['a Hangul filler', '\u3164'],
    ['a halfwidth Hangul filler', '\uffa0'],
    ['the empty Braille pattern', '\u2800'],
    ['a variation selector', '\ufe0f'],
    ['a variation selector of the second set', '\u{e0101}'],
    ['a tag character', '\u{e0041}'],
    ['a Mongolian vowel separator', '\u180e'],
    ['a musical format control', '\u{1d173}'],
    ['an annotation anchor', '\ufff9'],
    ['a lone surrogate', '\ud800'],
  ] as const)
    it(`spells out ${what}, and JSON with it stays the same JSON`, () => {
      const json = JSON.stringify({ key: `a${char}b` })

      expect(printable(`a${char}b`)).to.match(/^a(\\u[0-9a-f]{4})+b$/)
      expect(printable(json)).to.match(/^[\x20-\x7e]*$/)
      expect(JSON.parse(printable(json))).to.deep.equal({ key: `a${char}b` })
    })

  it('leaves what people write', () => {
    const text = 'Übersicht 2026 – 請求書.pdf, счёт, فاتورة, 한글, ⠓⠊, 😀'

    expect(printable(text)).to.equal(text)
  })
})
