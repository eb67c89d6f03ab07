// What clamd's container finds on its volumes.
import { expect } from 'chai'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeEngineFiles, type EngineFilesOptions } from '../../../services/init/engine-files.ts'
import { rejection } from '../../support/rejection.ts'

describe("the files of clamd's container", () => {
  let root: string
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'engine-files-'))
    mkdirSync(join(root, 'socket'))
    mkdirSync(join(root, 'temp'))
  })
  afterEach(() => rmSync(root, { recursive: true }))

  const write = (options: Partial<EngineFilesOptions>) =>
    writeEngineFiles({
      folder: join(root, 'engine'),
      socketFolder: join(root, 'socket'),
      temporaryFolder: join(root, 'temp'),
      signatures: 'test',
      engine: 'clamd',
      maxObjectBytes: 1000,
      maxScanTimeMs: 300_000,
      maxThreads: 2,
      ...options,
    })
  const read = (name: string) => readFileSync(join(root, 'engine', name), 'utf8')

  it('hold a clamd.conf that listens on the shared socket alone and scans what the workers accept', async () => {
    await write({ maxObjectBytes: 12345 })

    expect(read('clamd.conf')).to.contain(`LocalSocket ${join(root, 'socket/clamd.sock')}\n`)
    expect(read('clamd.conf')).to.match(/^StreamMaxLength 12345$/m)
    expect(read('clamd.conf')).not.to.contain('TCPSocket')
  })

  it('let clamd listen on its own loopback for clamav-rest', async () => {
    await write({ engine: 'clamav-rest' })

    expect(read('clamd.conf')).to.match(/^TCPAddr 127\.0\.0\.1$/m)
  })

  it('let an unprivileged clamd of any number write its socket and its temporary files', async () => {
    await write({})

    for (const name of ['socket', 'temp'])
      expect(statSync(join(root, name)).mode & 0o7777).to.equal(0o1777)
    expect(read('clamd.conf')).to.match(/^LocalSocketMode 666$/m)
  })

  it('hold the EICAR-only set only when it was asked for by name', async () => {
    const [said = ''] = await write({ signatures: 'test' })
    expect(said).to.contain('TEST SET')
    expect(existsSync(join(root, 'engine/test-signatures/test.ndb'))).to.equal(true)

    await write({ signatures: 'online' })
    expect(existsSync(join(root, 'engine/test-signatures'))).to.equal(false)
    expect(read('clamd.conf')).to.match(/^DatabaseDirectory \/var\/lib\/clamav$/m)
  })

  it('hold a freshclam.conf for the public mirror, or a private one, and none otherwise', async () => {
    await write({ signatures: '' })
    expect(read('freshclam.conf')).to.match(/^DatabaseMirror database\.clamav\.net$/m)

    await write({ signatures: 'mirror:https://mirror.example.org/clamav' })
    expect(read('freshclam.conf')).to.match(
      /^PrivateMirror https:\/\/mirror\.example\.org\/clamav$/m,
    )

    await write({ signatures: 'dir' })
    expect(existsSync(join(root, 'engine/freshclam.conf'))).to.equal(false)
  })

  it('are refused for a source of signatures that nobody knows', async () => {
    const error = await rejection(write({ signatures: 'mirror:nowhere' }))

    expect(error.message).to.contain('SIGNATURES=mirror:nowhere is not understood')
  })
})
