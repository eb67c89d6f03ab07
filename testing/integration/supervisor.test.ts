import { expect } from 'chai'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findMarked, isMarked, sendSignal } from '../../services/cli/processes.ts'
import { readState, type ChildSpec } from '../../services/cli/spec.ts'
import { applySpec, liveState, stopSupervision } from '../../services/cli/supervision.ts'
import { eventually } from '../support/eventually.ts'
import { rejection } from '../support/rejection.ts'
import { freePorts } from '../support/test-process.ts'

// Notes its start and its end in a file, listens on its port, ends a moment after SIGTERM.
const program = `
  const { appendFileSync } = require('node:fs')
  const { createServer } = require('node:net')
  const [name, port, notes, hold] = process.argv.slice(1)
  const note = (what) => appendFileSync(notes, what + ' ' + name + '\\n')
  note('start')
  console.log('password hunter2 of ' + name)
  createServer((socket) => socket.on('error', () => {})).listen(Number(port), '127.0.0.1')
  if (hold) require('node:net').connect(Number(hold), '127.0.0.1').on('error', () => {})
  process.on('SIGTERM', () => setTimeout(() => { note('end'); process.exit(0) }, 50))
`

const accepts = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket.destroy() !== undefined))
    socket.on('error', () => resolve(false))
  })

describe('the supervisor', function () {
  this.timeout(30_000)
  let runDir: string
  let notes: string
  let ports: number[]
  const base = { PATH: process.env['PATH'] ?? '' }

  beforeEach(async () => {
    runDir = mkdtempSync(join(tmpdir(), 'supervisor-'))
    notes = join(runDir, 'notes')
    ports = await freePorts(4)
  })
  afterEach(async () => {
    await stopSupervision(runDir)
    rmSync(runDir, { recursive: true, force: true })
  })

  const child = (name: string, index: number, change: Partial<ChildSpec> = {}): ChildSpec => ({
    name,
    command: [process.execPath, '-e', program, '--', name, String(ports[index]), notes],
    env: base,
    cwd: runDir,
    ready: { kind: 'tcp', port: ports[index] ?? 0 },
    readyTimeoutMs: 10_000,
    stopTimeoutMs: 5000,
    ...change,
  })
  const apply = (...children: ChildSpec[]) => applySpec(children, { runDir, base })
  const stateOf = (name: string) => readState(runDir)?.children.find((one) => one.name === name)
  const lines = () => readFileSync(notes, 'utf8').trim().split('\n')

  it('starts the children in order and returns when all of them are ready', async () => {
    await apply(child('a', 0), child('b', 1), child('c', 2))

    expect(lines()).to.deep.equal(['start a', 'start b', 'start c'])
    expect(await accepts(ports[2] ?? 0)).to.equal(true)
    expect(readState(runDir)?.children.map(({ phase }) => phase)).to.deep.equal([
      'running',
      'running',
      'running',
    ])
  })

  it('starts a child again that was killed, and counts it', async () => {
    await apply(child('a', 0))
    const { pid = 0 } = stateOf('a') ?? {}

    process.kill(pid, 'SIGKILL')

    await eventually(() => stateOf('a')?.restarts === 1 && stateOf('a')?.phase === 'running')
    expect(stateOf('a')).to.include({ lastEnd: 'SIGKILL' })
    expect(stateOf('a')?.pid).to.not.equal(pid)
    expect(await accepts(ports[0] ?? 0)).to.equal(true)
  })

  it('removes what a killed child left in its temporary folder, and nothing else', async () => {
    const [temporaryFolder, beside] = [join(runDir, 'tmp'), join(runDir, 'beside')]
    mkdirSync(join(temporaryFolder, '20261126-scan.tmp'), { recursive: true })
    writeFileSync(join(temporaryFolder, '.half'), 'x')
    writeFileSync(beside, 'x')
    await apply(child('a', 0, { temporaryFolder }))

    expect(readdirSync(temporaryFolder)).to.deep.equal([])

    writeFileSync(join(temporaryFolder, '20261126-scan.tmp'), 'x')
    process.kill(stateOf('a')?.pid ?? 0, 'SIGKILL')
    await eventually(() => stateOf('a')?.restarts === 1 && stateOf('a')?.phase === 'running')

    expect(readdirSync(temporaryFolder)).to.deep.equal([])
    expect(existsSync(beside)).to.equal(true)
  })

  it('stops the children in reverse order, and leaves no process and no port', async () => {
    await apply(child('a', 0), child('b', 1), child('c', 2))

    await stopSupervision(runDir)

    expect(lines().slice(3)).to.deep.equal(['end c', 'end b', 'end a'])
    expect(findMarked(runDir)).to.deep.equal([])
    for (const port of ports) expect(await accepts(port)).to.equal(false)
  })

  it('starts and stops workers as the spec is scaled, and leaves the others alone', async () => {
    await apply(child('a', 0), child('w-1', 1))
    const before = stateOf('a')?.pid

    await apply(child('a', 0), child('w-1', 1), child('w-2', 2), child('w-3', 3))
    expect(readState(runDir)?.children.map(({ name }) => name)).to.deep.equal([
      'a',
      'w-1',
      'w-2',
      'w-3',
    ])
    await apply(child('a', 0), child('w-1', 1))

    expect(lines()).to.deep.equal([
      'start a',
      'start w-1',
      'start w-2',
      'start w-3',
      'end w-3',
      'end w-2',
    ])
    expect(stateOf('a')?.pid).to.equal(before)
    expect(await accepts(ports[3] ?? 0)).to.equal(false)
  })

  it('restarts only the child whose environment changed', async () => {
    await apply(child('a', 0), child('b', 1))
    const before = stateOf('a')?.pid

    await apply(child('a', 0), child('b', 1, { env: { ...base, SETTING: 'new' } }))

    expect(lines().slice(2)).to.deep.equal(['end b', 'start b'])
    expect(stateOf('a')?.pid).to.equal(before)
  })

  it('kills what does not stop in its time, with everything that it started', async () => {
    const stubborn = [
      'sh',
      '-c',
      'trap "" TERM; sleep 1000 & echo up > up; while :; do sleep 1; done',
    ]
    await apply(child('a', 0, { command: stubborn, ready: { kind: 'none' }, stopTimeoutMs: 300 }))
    await eventually(() => existsSync(join(runDir, 'up')))

    await stopSupervision(runDir)

    expect(findMarked(runDir)).to.deep.equal([])
  })

  it('ends processes that left their group', async () => {
    const daemon = `require('node:child_process').spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }).unref();
      require('node:fs').writeFileSync('up', ''); setInterval(() => {}, 1000)`
    await apply(
      child('a', 0, { command: [process.execPath, '-e', daemon], ready: { kind: 'none' } }),
    )
    await eventually(() => existsSync(join(runDir, 'up')))

    await stopSupervision(runDir)

    expect(findMarked(runDir)).to.deep.equal([])
  })

  it('takes over from a supervisor that was killed', async () => {
    await apply(child('a', 0))
    const { pid: supervisor = 0 } = liveState(runDir) ?? {}
    sendSignal(supervisor, 'SIGKILL')
    await eventually(() => !isMarked(supervisor, runDir))

    await apply(child('a', 0))

    expect(liveState(runDir)?.pid).to.be.a('number').and.not.equal(supervisor)
    expect(stateOf('a')?.phase).to.equal('running')
    expect(findMarked(runDir)).to.have.length(2)
  })

  it('names the child that cannot become ready, with its last words', async () => {
    const broken = child('b', 1, { command: ['sh', '-c', 'echo the disk is full >&2; exit 3'] })

    const error = await rejection(apply(child('a', 0), broken))

    expect(error.message).to.match(/^b ends again and again \(exit 3\)/)
    expect(error.message).to.contain('the disk is full')
  })

  it('starts a child that lost its connection again once the other one is back', async () => {
    const holder = child('store', 1, {
      command: [...child('store', 1).command, String(ports[0])],
      holds: { port: ports[0] ?? 0, of: 'broker' },
    })
    await apply(child('broker', 0), holder)

    process.kill(stateOf('broker')?.pid ?? 0, 'SIGKILL')

    await eventually(
      () => stateOf('store')?.restarts === 1 && stateOf('store')?.phase === 'running',
      {
        timeoutMs: 15_000,
      },
    )
    expect(stateOf('store')).to.not.have.property('lastEnd')
  })

  it('masks secrets in the log of a child', async () => {
    await apply(child('a', 0, { mask: ['hunter2'] }))

    const log = await eventually(() => readFileSync(join(runDir, 'log/a.log'), 'utf8') || false)

    expect(log).to.equal('password *** of a\n')
  })

  it('keeps the log small', async () => {
    const chatty = `for (let i = 0; i < 12; i++) process.stdout.write(('x'.repeat(1023) + '\\n').repeat(1024)); setInterval(() => {}, 1000)`
    await apply(
      child('a', 0, { command: [process.execPath, '-e', chatty], ready: { kind: 'none' } }),
    )

    await eventually(() => existsSync(join(runDir, 'log/a.log.1')))

    expect(readFileSync(join(runDir, 'log/a.log.1')).length).to.be.at.most(10 * 1024 * 1024)
  })
})
