import { expect } from 'chai'
import { eventually } from '../../support/eventually.ts'
import { rejection } from '../../support/rejection.ts'
import { explain, longStep } from '../../../services/cli/say.ts'
import { ConfigError } from '../../../services/shared/config.ts'
import { FatalError } from '../../../services/shared/errors.ts'

describe('explain', () => {
  it('names every configuration mistake and says to mend them', () => {
    const text = explain(new ConfigError(['a.yaml:1:2 x: wrong', 'VOLUME_SIZE: wrong']))

    expect(text).to.include(
      'a.yaml:1:2 x: wrong\nVOLUME_SIZE: wrong\nWhat to do: mend what is named',
    )
  })

  it('passes on the hint of an error that has one', () => {
    expect(explain(new FatalError('no engine', 'start it'))).to.include(
      'no engine\nWhat to do: start it',
    )
  })

  it('points to status and logs for everything else', () => {
    expect(explain(new Error('odd'))).to.include('odd\nWhat to do: make status and make logs')
  })
})

const paper = (isTTY: boolean) => {
  const out = { isTTY, columns: 60, text: '', write: (text: string) => (out.text += text) }
  return out
}
/** Lasts until what it has done so far was shown. */
const building = (out: { text: string }) => async (progress: (text: string) => void) => {
  progress('12 of 40 packages')
  await eventually(() => out.text.includes('12 of 40 packages'))
  return 'built'
}

describe('longStep', () => {
  it('gives a line now and then where there is no terminal', async () => {
    const out = paper(false)

    expect(await longStep('building it', 'once', building(out), out, 5)).to.equal('built')
    const [first, then, ...rest] = out.text.trimEnd().split('\n')
    expect(first).to.equal('  building it (once) …')
    expect(then).to.equal('    0 s, 12 of 40 packages')
    expect(rest.at(-1)).to.equal('    ok, 0 s')
  })

  it('changes its one line on a terminal, and never fills it', async () => {
    const out = paper(true)
    const what = `building what has a long name ${'x'.repeat(60)}`
    await longStep(what, '', building(out), out, 5)

    expect(out.text.match(/\n/g)).to.have.length(1)
    const shown = out.text.split('\r\u001b[K').slice(1, -1)
    expect(shown[0]).to.match(/^ {2}building what .* 0 s, 12 of 40 packages$/)
    for (const line of shown) expect(line.length).to.be.below(60)
  })

  it('says that it failed, and passes the error on', async () => {
    const out = paper(false)
    const failed = longStep('building it', '', () => Promise.reject(new Error('no')), out)

    expect(await rejection(failed)).to.have.property('message', 'no')
    expect(out.text).to.match(/FAILED after 0 s\n$/)
  })
})
