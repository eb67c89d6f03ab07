// Log lines as they leave the process: one line each, whatever is in them.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { expect } from 'chai'
import { createLog } from '../../../services/shared/log.ts'
import { FatalError } from '../../../services/shared/errors.ts'
import { eventually } from '../../support/eventually.ts'

const modules = new URL('../../../services/shared/', import.meta.url)

/** What `script` logs through `log` in a process of its own, one entry per line. */
function linesOf(script: string, options = "{ format: 'json', level: 'info' }"): string[] {
  const source = `
    const { createLog } = await import(${JSON.stringify(new URL('log.ts', modules).href)})
    const { FatalError, EngineUnavailableError } = await import(${JSON.stringify(new URL('errors.ts', modules).href)})
    const log = createLog('avscan', ${options})
    ${script}`
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module-typescript', '--eval', source],
    { encoding: 'utf8' },
  )
  expect(stderr).to.equal('')
  return stdout.split('\n').filter((line) => line !== '')
}

const inText = "{ format: 'text', level: 'info' }"

describe('createLog: json', () => {
  it('prints level, service, time, message and fields', () => {
    const [line = ''] = linesOf("log.info('object scanned', { key: 'a b', durationMs: 7 })")

    const entry = JSON.parse(line) as Record<string, unknown>
    expect(entry).to.include({
      level: 'info',
      service: 'avscan',
      message: 'object scanned',
      key: 'a b',
      durationMs: 7,
    })
    expect(entry['timestamp']).to.match(/^\d{4}-\d\d-\d\dT/)
  })

  it('spells an error out with code and causes, and its stack where somebody must look', () => {
    const [warn = '', error = ''] = linesOf(`
      const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
      const failure = new EngineUnavailableError('reach clamd', { cause })
      failure.code = 'OUTER'
      log.warn('paused', { error: failure })
      log.error('given up', { error: failure })`)

    const [first, second] = [warn, error].map(
      (line) => (JSON.parse(line) as { error: Record<string, unknown> }).error,
    )
    expect(first).to.deep.equal({
      name: 'EngineUnavailableError',
      message: 'reach clamd: connect ECONNREFUSED',
      code: 'OUTER',
    })
    expect(second?.['stack']).to.match(/^EngineUnavailableError: reach clamd\n/)
  })

  it('prints the hint of an error that a person must mend', () => {
    const [line = ''] = linesOf(
      "log.warn('x', { error: new FatalError('wrong CA', 'set TLS_CA') })",
    )

    expect(JSON.parse(line)).to.have.nested.property('error.hint', 'set TLS_CA')
  })

  it('keeps the fields of a child, and the service', () => {
    const [line = ''] = linesOf("log.child({ queue: 'q' }).info('consuming', { n: 1 })")

    expect(JSON.parse(line)).to.include({ service: 'avscan', queue: 'q', n: 1 })
  })

  it('lets nothing forge a line', () => {
    const lines = linesOf(
      String.raw`log.info('object scanned', { key: 'a\n{"level":"info","message":"forged"}\r\u2028\u0085\u001b[2J' })`,
    )

    expect(lines).to.have.length(1)
    expect(JSON.parse(lines[0] ?? '')).to.have.property('message', 'object scanned')
  })

  it('lets nothing of a key reach the terminal, and keeps the key as it is', () => {
    const [line = ''] = linesOf(
      String.raw`log.info('scanned', { key: 'a\u009b2J\u202egpj.exe\u2066\u200bö😀\\u202e' })`,
    )

    expect(line).not.to.match(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f]/)
    expect(line).to.include('ö😀')
    expect(JSON.parse(line)).to.have.property('key', 'a\u009b2J\u202egpj.exe\u2066\u200bö😀\\u202e')
  })

  it('prints nothing below its level', () => {
    expect(
      linesOf("log.debug('a'); log.info('b'); log.warn('c')", "{ format: 'json', level: 'warn' }"),
    ).to.have.length(1)
  })
})

describe('createLog: text', () => {
  it('begins each line as the original did', () => {
    expect(
      linesOf(
        "log.info('object scanned', { verdict: 'CLEAN', key: 'a b', ms: 7, none: undefined })",
        inText,
      ),
    ).to.deep.equal(['[avscan] object scanned verdict=CLEAN key="a b" ms=7'])
  })

  it('names the level where it is not info, and shows an error as its sentence', () => {
    expect(
      linesOf(
        "log.warn('paused', { error: new Error('reach clamd', { cause: new Error('refused') }) })",
        inText,
      ),
    ).to.deep.equal(['[avscan] warn: paused error="reach clamd: refused"'])
  })

  it('lets nothing forge a line or reach the terminal', () => {
    const lines = linesOf(
      String.raw`log.info('scanned', { key: 'a\n[avscan] forged\r\u001b[2J\u2028\u009b\u202e' })
      log.warn('x\n[avscan] forged', { error: new Error('b\n[avscan] forged') })`,
      inText,
    )

    expect(lines).to.have.length(2)
    // oxlint-disable-next-line no-control-regex
    expect(lines.join('')).not.to.match(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/)
  })
})

describe('createLog: file', () => {
  it('writes the same lines to the file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'avscan-log-'))
    const file = join(folder, 'av.log')
    try {
      const lines = linesOf(
        "log.info('to both')",
        `{ format: 'text', level: 'info', file: ${JSON.stringify(file)} }`,
      )

      await eventually(() => readFileSync(file, 'utf8') === '[avscan] to both\n')
      expect(lines).to.deep.equal(['[avscan] to both'])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('an error in a log call', () => {
  it('stays as it was for whoever throws it on', () => {
    const error = new FatalError('message', 'hint')
    const log = createLog('test', { format: 'json', level: 'error' })

    log.warn('not printed', { error })

    expect(error).to.include({ message: 'message', hint: 'hint', name: 'FatalError' })
  })
})
