import { expect } from 'chai'
import type { Finding } from '../../../services/avscan/engines/engine.ts'
import { conclude } from '../../../services/avscan/policy.ts'

const clean: Finding = { status: 'clean' }
const infected: Finding = { status: 'infected', signature: 'Win.Test' }
const suspicious: Finding = { status: 'suspicious', signature: 'Maybe' }
const encrypted: Finding = { status: 'unscannable', reason: 107, detail: 'encrypted' }
const tooMany: Finding = { status: 'unscannable', reason: 102, detail: 'too many files' }
const options = { tags: true, delete: true }

describe('conclude', () => {
  const table: [string, Finding[], string, string, string, number[]][] = [
    ['one clean finding', [clean], 'CLEAN', 'clean', 'tag', []],
    ['two clean findings', [clean, clean], 'CLEAN', 'clean', 'tag', []],
    ['one infected finding', [infected], 'INFECTED', 'infected', 'delete', []],
    ['infected outvoted by clean', [clean, infected, clean], 'INFECTED', 'infected', 'delete', []],
    ['infected beside unscannable', [encrypted, infected], 'INFECTED', 'infected', 'delete', []],
    ['suspicious beside clean', [clean, suspicious], 'SUSPICIOUS', 'no', 'tag', []],
    ['suspicious beside unscannable', [encrypted, suspicious], 'SUSPICIOUS', 'no', 'tag', []],
    ['unscannable', [encrypted], 'UNSCANNABLE', 'no', 'tag', [107]],
    ['unscannable beside clean', [clean, encrypted], 'UNSCANNABLE', 'no', 'tag', [107]],
    ['the same reason twice', [encrypted, encrypted], 'UNSCANNABLE', 'no', 'tag', [107]],
    ['several reasons', [encrypted, tooMany], 'UNSCANNABLE', 'no', 'tag', [100, 107, 102]],
  ]
  for (const [title, findings, verdict, tag, action, reasons] of table) {
    it(`makes ${verdict} of ${title}`, () => {
      const conclusion = conclude(findings, options)

      expect(conclusion).to.include({ verdict, tag, action })
      expect(conclusion.reasons).to.deep.equal(reasons)
    })
  }

  it('refuses to conclude anything from no finding at all', () => {
    expect(() => conclude([], options)).to.throw('no engine has judged')
  })

  it('only tags an infected object when deletion is off', () => {
    expect(conclude([infected], { tags: true, delete: false }).action).to.equal('tag')
  })

  it('still deletes when tags are off', () => {
    expect(conclude([infected], { tags: false, delete: true }).action).to.equal('delete')
  })

  it('does nothing to an object when both are off', () => {
    expect(conclude([infected], { tags: false, delete: false }).action).to.equal('none')
  })

  it('never deletes what could not be scanned', () => {
    for (const finding of [encrypted, tooMany, suspicious, clean])
      expect(conclude([finding], options).action).to.equal('tag')
  })
})
