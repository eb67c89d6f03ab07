// What people see of dead letters: a table that fits, and foreign text that cannot do anything to their terminal.
import { expect } from 'chai'
import { renderLetters, toJsonLine } from '../../../services/reconciler/dead-list.ts'
import type { Letter } from '../../../services/reconciler/letter.ts'
import { printable } from '../../../services/shared/printable.ts'
import { renderReplayed } from '../../../services/reconciler/replay.ts'
import { renderAge } from '../../../services/reconciler/terminal.ts'

const now = 1_700_000_000_000

const letter = (change: Partial<Letter> = {}): Letter => ({
  diedAt: new Date(now - 7_200_000),
  reason: 'EngineError',
  fromStore: false,
  origin: 's3minioqueue',
  attempts: 5,
  error: 'scan: broken',
  objects: [{ bucket: 'b', key: 'k', versionId: undefined }],
  otherwise: '',
  messageId: 'id',
  type: undefined,
  headers: {},
  body: Buffer.from('{}'),
  ...change,
})
const object = (key: string, versionId?: string) => ({ bucket: 'b', key, versionId })
const render = (one: Letter, width = 120) =>
  renderLetters([one], { width, now }).trimEnd().split('\n')

const hostile: [string, string, string][] = [
  [
    'an escape sequence',
    '\u001b[31m\u001b]0;title\u0007',
    String.raw`\u001b[31m\u001b]0;title\u0007`,
  ],
  ['a C1 control', '\u009b2J\u0085', String.raw`\u009b2J\u0085`],
  ['line ends', 'a\r\nb\u2028c', String.raw`a\u000d\u000ab\u2028c`],
  ['direction marks', '\u202egnp.exe\u2069', String.raw`\u202egnp.exe\u2069`],
  ['what cannot be seen', 'a\u200bb\ufeffc\u00ad', String.raw`a\u200bb\ufeffc\u00ad`],
  ['a lone surrogate', 'a\ud800b', String.raw`a\ud800b`],
]

describe('printable', () => {
  for (const [what, text, expected] of hostile)
    it(`makes ${what} visible`, () => {
      expect(printable(text)).to.equal(expected)
    })

  it('leaves text of all languages alone', () => {
    const text = 'Füße/日本語/🙂 עברית'
    expect(printable(text)).to.equal(text)
  })
})

describe('renderLetters', () => {
  it('shows age, reason, queue, attempts, object and last error', () => {
    expect(render(letter({ objects: [object('k', 'v1')] }))).to.deep.equal([
      'age  reason       queue         attempts  object    last error',
      '2h   EngineError  s3minioqueue  5         b/k (v1)  scan: broken',
    ])
  })

  it('says what it does not know', () => {
    const blank = { diedAt: undefined, origin: undefined, attempts: undefined, error: '' }
    const unnamed = { objects: [], otherwise: 'not ours: xyz' }

    expect(render(letter({ ...blank, ...unnamed }))[1]).to.match(
      /^\? +EngineError +unknown +\(not ours: xyz\)$/,
    )
  })

  it('names the first of several objects and their number, and with --long all', () => {
    const several = letter({ objects: [object('x'), object('y')] })

    expect(render(several)[1]).to.contain('2 objects: b/x  ')
    expect(render(several, Infinity)[1]).to.contain('b/x, b/y')
  })

  for (const width of [60, 80, 120, 200])
    it(`fits into ${width} columns as far as its columns allow`, () => {
      const long = letter({ error: 'e'.repeat(1000), objects: [object('k'.repeat(1024))] })
      const [, line = ''] = render(long, width)

      expect(line).to.contain('…').and.match(/e…$/)
      expect(line.length).to.be.at.most(Math.max(width, 85))
    })

  it('shortens nothing with --long', () => {
    const long = letter({ error: 'e'.repeat(1000), objects: [object('k'.repeat(1024))] })

    expect(render(long, Infinity)[1]).to.contain('e'.repeat(1000)).and.contain('k'.repeat(1024))
  })

  for (const [what, text, expected] of hostile)
    it(`lets ${what} do nothing, wherever it stands`, () => {
      const lines = render(
        letter({ error: text, objects: [object(text, text)], reason: text, origin: text }),
        Infinity,
      )

      expect(lines).to.have.length(2)
      expect(lines[1]?.split(expected)).to.have.length(6)
      expect(printable(lines[1] ?? '')).to.equal(lines[1])
    })
})

describe('toJsonLine', () => {
  it('holds everything, the body included, in one harmless line that reads back as it was', () => {
    const text = hostile.map(([, value]) => value).join('')
    const body = Buffer.from('{"a":"\u009b\u2028"}')
    const line = toJsonLine(letter({ error: text, body, headers: { h: [1] } }), now)

    expect(printable(line.slice(0, -1))).to.equal(line.slice(0, -1))
    expect(line.endsWith('}\n')).to.equal(true)
    expect(JSON.parse(line)).to.deep.equal({
      when: '2023-11-14T20:13:20.000Z',
      ageSeconds: 7200,
      reason: 'EngineError',
      origin: 's3minioqueue',
      attempts: 5,
      error: text,
      objects: [{ bucket: 'b', key: 'k' }],
      messageId: 'id',
      headers: { h: [1] },
      body: body.toString(),
    })
  })

  it('gives bytes that are no text in base64', () => {
    const body = Buffer.from([0xff, 0, 1])

    const line = JSON.parse(toJsonLine(letter({ body }), now)) as Record<string, unknown>

    expect(line).to.include({ bodyBase64: '/wAB' }).and.not.have.property('body')
  })
})

describe('renderReplayed', () => {
  it('says how many went where, how many stay and why, and what to do when it ended early', () => {
    const done = {
      sent: new Map([
        ['s3minioqueue', 1200],
        ['avscan.notify', 1],
      ]),
      kept: new Map([['there is no queue x any more', 2]]),
      failure: new Error('the connection was lost'),
    }

    expect(renderReplayed(done, false, 3000).split('\n')).to.deep.equal([
      'sent to',
      's3minioqueue   1,200',
      'avscan.notify  1',
      '2 stay, for there is no queue x any more',
      '1,201 sent back in 3.0 s, 400/s',
      'ended early: the connection was lost',
      'Nothing is lost: the others are still dead. Run it again.',
      '',
    ])
  })
})

describe('renderAge', () => {
  it('is as exact as people need it', () => {
    const second = 1000
    expect([-5, 59 * second, 119 * second, 7200 * second, 200_000 * second].map(renderAge)).to.eql([
      '0s',
      '59s',
      '1m',
      '2h',
      '2d',
    ])
  })
})
