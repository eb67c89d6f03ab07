// Building a program once: with a `go` that does what the real one does, in no time.
import { expect } from 'chai'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  buildPrograms,
  builtProgram,
  parseBuiltPath,
  readableVersion,
  removeAbandonedBuilds,
  type GoProgram,
} from '../../../services/cli/go-build.ts'
import { installStore, storeVersion } from '../../../services/cli/install-store.ts'
import { eventually } from '../../support/eventually.ts'
import { testFolder } from '../../support/test-process.ts'
import { rejection } from '../../support/rejection.ts'

const module = join(import.meta.dirname, '../../../services/cli/go-build.ts')

const tool: GoProgram = {
  name: 'tool',
  title: 'Tool',
  package: 'example.org/tool/cmd/tool',
  module: 'example.org/tool',
  version: 'v1.2.3',
  sum: 'h1:abc=',
  typically: 'no time',
  packages: 2,
  roomBytes: 0,
}

describe('building with Go', () => {
  let folder: string
  let toolsDir: string
  let path: string
  beforeEach(() => {
    folder = testFolder('go-build')
    toolsDir = join(folder, 'bin')
    path = join(folder, 'path')
    mkdirSync(path)
  })

  const program = (name: string, script: string) => {
    writeFileSync(join(path, name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(path, name), 0o755)
  }
  /** `install` is what happens beside the program's file. */
  const fakeGo = ({ install = '', sum = tool.sum, sumdb = 'sum.golang.org' } = {}) =>
    program(
      'go',
      `case "$1 $2" in
        'env GOVERSION') echo go1.26.8 ;;
        'env GOSUMDB') echo ${sumdb} ;;
        install*) echo "$*" >>${folder}/installs; env >${folder}/env
          echo fmt >&2
          mkdir -p "$GOBIN" "$GOCACHE" && echo partly >"$GOBIN/tool"
          ${install}
          echo built >"$GOBIN/tool" ;;
        version*) printf '\\tpath\\tx\\n\\tmod\\t%s\\t%s\\t%s\\n' ${tool.module} ${tool.version} ${sum} ;;
      esac`,
    )
  const installs = () =>
    existsSync(join(folder, 'installs'))
      ? readFileSync(join(folder, 'installs'), 'utf8').trimEnd().split('\n')
      : []
  const build = () => buildPrograms([tool], toolsDir, path)

  it('builds the pinned version once, and leaves nothing but the program', async () => {
    fakeGo()
    await build()
    await build()

    expect(installs()).to.deep.equal(['install -v -ldflags=-s -w example.org/tool/cmd/tool@v1.2.3'])
    expect(readdirSync(toolsDir)).to.deep.equal(['tool@v1.2.3'])
    expect(readFileSync(builtProgram(tool, toolsDir) ?? '', 'utf8')).to.equal('built\n')
  })

  it('builds a new version beside the old one', async () => {
    fakeGo()
    mkdirSync(join(toolsDir, 'tool@v1.2.2'), { recursive: true })
    writeFileSync(join(toolsDir, 'tool@v1.2.2/tool'), 'old')
    await build()

    expect(readdirSync(toolsDir)).to.have.members(['tool@v1.2.2', 'tool@v1.2.3'])
  })

  it('builds once when two ask at the same time', async () => {
    fakeGo()
    await Promise.all([build(), build(), build()])

    expect(installs()).to.have.length(1)
    expect(readdirSync(toolsDir)).to.deep.equal(['tool@v1.2.3'])
  })

  it('lets the next one build when the first one fails', async () => {
    fakeGo({ install: `[ "$(wc -l <${folder}/installs)" -gt 1 ] || exit 1` })
    const outcomes = await Promise.allSettled([build(), build()])

    expect(outcomes.map(({ status }) => status)).to.have.members(['fulfilled', 'rejected'])
    expect(builtProgram(tool, toolsDir)).to.not.equal(undefined)
  })

  it('says why a build failed, and takes no half of one for a program', async () => {
    fakeGo({ install: `echo 'reading https://proxy.example/: 403 Forbidden' >&2; exit 1` })
    const { message } = await rejection(build())

    expect(message).to.match(/ended with 1:\n {4}reading https:\/\/proxy.example\/: 403 Forbidden$/)
    expect(builtProgram(tool, toolsDir)).to.equal(undefined)
    expect(readdirSync(toolsDir)).to.deep.equal([])
  })

  it('refuses a module that is not the pinned one', async () => {
    fakeGo({ sum: 'h1:other=' })

    expect((await rejection(build())).message).to.include('is not h1:abc=')
    expect(readdirSync(toolsDir)).to.deep.equal([])
  })

  it('verifies checksums whatever this machine was told, on two cores, with caches of its own', async () => {
    fakeGo({ sumdb: 'off' })
    await build()
    const env = readFileSync(join(folder, 'env'), 'utf8')

    expect(env)
      .to.match(/^GOSUMDB=sum\.golang\.org$/m)
      .and.match(/^GONOSUMDB=none$/m)
    expect(env).to.match(/^GOFLAGS=-p=2 /m)
    for (const name of ['GOPATH', 'GOCACHE', 'GOTMPDIR', 'GOBIN'])
      expect(env).to.match(new RegExp(`^${name}=${toolsDir}/build-${process.pid}/`, 'm'))
  })

  it('begins no build for which there is no room', async () => {
    fakeGo()
    const large = { ...tool, roomBytes: 2 ** 60 }

    expect((await rejection(buildPrograms([large], toolsDir, path))).message).to.match(
      /MiB left, and a build takes up to \d+ GiB/,
    )
    expect(installs()).to.deep.equal([])
  })

  it('removes its caches when it is interrupted, and ends by that signal', async () => {
    fakeGo({ install: 'exec sleep 60' })
    const script = `import { buildPrograms } from ${JSON.stringify(module)}
      await buildPrograms([${JSON.stringify(tool)}], ${JSON.stringify(toolsDir)}, ${JSON.stringify(path)})`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: 'ignore',
    })
    const ended = once(child, 'exit')
    await eventually(() => installs().length > 0)
    child.kill('SIGTERM')

    expect(await ended).to.deep.equal([null, 'SIGTERM'])
    expect(readdirSync(toolsDir)).to.deep.equal([])
  })

  it('removes what a killed build has left, and nothing of one that goes on', () => {
    const entries = ['build-4194999', `build-${process.pid}`, 'tool@v1.2.3']
    for (const entry of entries) mkdirSync(join(toolsDir, entry), { recursive: true })
    removeAbandonedBuilds(toolsDir)

    expect(readdirSync(toolsDir)).to.have.members(entries.slice(1))
  })

  describe('of a store', () => {
    const choice = { flavour: 'minio', why: '', isFree: true } as const

    it('takes VersityGW where MinIO cannot be built, only when nobody asked for MinIO', async () => {
      const place = join(toolsDir, 'versitygw@v1.8.0')
      mkdirSync(place, { recursive: true })
      writeFileSync(join(place, 'versitygw'), '')
      fakeGo({ install: `echo '403 Forbidden' >&2; exit 1` })

      expect(await installStore(choice, toolsDir, path)).to.deep.equal({
        flavour: 'versitygw',
        server: join(place, 'versitygw'),
        admin: join(place, 'versitygw'),
      })
      const asked = await rejection(installStore({ ...choice, isFree: false }, toolsDir, path))
      expect(asked.message).to.include('403 Forbidden')
    })

    it('takes minio and mc of PATH when both are there', async () => {
      fakeGo({ install: 'exit 1' })
      program('minio', 'echo "minio version RELEASE.2025-09-07T16-13-09Z (commit-id=0)"')
      expect(await rejection(installStore({ ...choice, isFree: false }, toolsDir, path))).to.be.an(
        'error',
      )
      program('mc', '')

      expect(await installStore(choice, toolsDir, path)).to.deep.equal({
        flavour: 'minio',
        server: join(path, 'minio'),
        admin: join(path, 'mc'),
      })
      expect(await storeVersion(join(path, 'minio'), path)).to.equal(
        'MinIO RELEASE.2025-09-07T16-13-09Z',
      )
    })

    it('takes VersityGW from where 1.0 built it, or from PATH, only of the pinned version', async () => {
      const old = join(toolsDir, 'versitygw')
      mkdirSync(toolsDir, { recursive: true })
      writeFileSync(old, '#!/bin/sh\n', { mode: 0o755 })
      program(
        'go',
        `case "$1" in env) echo go1.26.8 ;; version) cat ${folder}/facts ;; *) exit 1 ;; esac`,
      )
      const gateway = { flavour: 'versitygw', why: '', isFree: false } as const

      writeFileSync(join(folder, 'facts'), '\tmod\tm\tv1.8.0\th1:x\n')
      expect(await installStore(gateway, toolsDir, path)).to.include({ server: old, admin: old })
      writeFileSync(join(folder, 'facts'), '\tmod\tm\tv1.7.0\th1:x\n')
      expect(await rejection(installStore(gateway, toolsDir, path))).to.be.an('error')
    })

    it('knows the version of what it has built', async () => {
      const minio = '/checkout/.run/bin/minio@v0.0.0-20260212201848-7aac2a2c5b7c/minio'

      expect(await storeVersion(minio)).to.equal('MinIO 2026-02-12 (7aac2a2c5b7c)')
      expect(await storeVersion('/x/versitygw@v1.8.0/versitygw')).to.equal('VersityGW v1.8.0')
    })
  })

  it('reads a version out of a path of its own only', () => {
    expect(parseBuiltPath('/a/tool@v1.2.3/tool')).to.deep.equal({ name: 'tool', version: 'v1.2.3' })
    expect(parseBuiltPath('/usr/bin/tool')).to.equal(undefined)
    expect(parseBuiltPath('/a/tool@v1.2.3/other')).to.equal(undefined)
    expect(readableVersion('v1.8.0')).to.equal('v1.8.0')
  })
})
