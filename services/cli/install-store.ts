// Which object store a native deployment runs, and its programs: found on PATH, or built once.
import { basename } from 'node:path'
import { FatalError } from '../shared/errors.ts'
import { findProgram } from './find-program.ts'
import {
  buildPrograms,
  builtProgram,
  findGo,
  parseBuiltPath,
  readableVersion,
  type GoProgram,
} from './go-build.ts'
import { runCommand } from './run-command.ts'
import { say } from './say.ts'
import type { StoreFlavour } from './store-process.ts'

/** MinIO has no release that the module proxy knows as a version: these are the last commits of its repositories. */
const minio: GoProgram = {
  name: 'minio',
  title: 'MinIO',
  package: 'github.com/minio/minio',
  module: 'github.com/minio/minio',
  version: 'v0.0.0-20260212201848-7aac2a2c5b7c',
  sum: 'h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA=',
  typically: 'three to four minutes',
  packages: 1300,
  roomBytes: 4 * 2 ** 30,
}

const mc: GoProgram = {
  name: 'mc',
  title: "MinIO's client mc",
  package: 'github.com/minio/mc',
  module: 'github.com/minio/mc',
  version: 'v0.0.0-20251106162529-77f82e18b540',
  sum: 'h1:OAeamQLGQyf7sT/JEocLpAfMTU2Me5Jx3c1MjyS/mNo=',
  typically: 'half a minute',
  packages: 200,
  roomBytes: 2 * 2 ** 30,
}

const versitygw: GoProgram = {
  name: 'versitygw',
  title: 'VersityGW',
  package: 'github.com/versity/versitygw/cmd/versitygw',
  module: 'github.com/versity/versitygw',
  version: 'v1.8.0',
  sum: 'h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc=',
  typically: 'one to three minutes',
  packages: 600,
  roomBytes: 2 * 2 ** 30,
}

export interface FlavourChoice {
  flavour: StoreFlavour
  why: string
  /** Nobody asked for it and no object is kept by it: another store may take its place. */
  isFree: boolean
}

export interface StorePrograms {
  flavour: StoreFlavour
  server: string
  /** What makes the store's users: mc, or VersityGW itself. */
  admin: string
}

/** What was chosen before stays, for the other one's data would be invisible; else MinIO. */
export function chooseFlavour(options: {
  asked: string | undefined
  before: StoreFlavour | undefined
}): FlavourChoice {
  const { asked, before } = options
  if (asked !== undefined && asked !== '') {
    if (asked !== 'versitygw' && asked !== 'minio')
      throw new FatalError(
        `STORE_FLAVOUR=${asked} is not known`,
        'set STORE_FLAVOUR=minio or STORE_FLAVOUR=versitygw',
      )
    if (before !== undefined && before !== asked)
      throw new FatalError(
        `this deployment's objects are kept by ${before}; ${asked} would not see them`,
        'make clean first (it removes the objects), or leave STORE_FLAVOUR out',
      )
    return { flavour: asked, why: 'STORE_FLAVOUR asks for it', isFree: false }
  }
  if (before !== undefined)
    return { flavour: before, why: 'that is where the objects are', isFree: false }
  return {
    flavour: 'minio',
    why: 'it is the default (STORE_FLAVOUR=versitygw is quicker to build)',
    isFree: true,
  }
}

/** The programs of the store that was chosen; of VersityGW when it was MinIO, freely, and MinIO cannot be built here. */
export async function installStore(
  choice: FlavourChoice,
  toolsDir: string,
  path = process.env['PATH'],
): Promise<StorePrograms> {
  try {
    const programs = await findStore(choice.flavour, toolsDir, path)
    if (!programs.server.startsWith(toolsDir))
      say(`  ${await storeVersion(programs.server, path)} of PATH: ${programs.server}`)
    return programs
  } catch (error) {
    if (!choice.isFree || !(error instanceof FatalError)) throw error
    const reason = error.message.split('\n').at(-1)?.trim()
    say(
      `  store: VersityGW takes MinIO's place in this deployment, for MinIO cannot be built: ${reason}`,
    )
    return findStore('versitygw', toolsDir, path)
  }
}

/** MinIO of PATH when it is there; else what has been built, now where need be. */
export async function findStore(
  flavour: StoreFlavour,
  toolsDir: string,
  path = process.env['PATH'],
): Promise<StorePrograms> {
  const found =
    flavour === 'minio'
      ? (minioOnPath(path) ?? builtStore(flavour, toolsDir))
      : // Until 1.0 it was built into that folder itself.
        (builtStore(flavour, toolsDir) ?? (await versitygwOnPath(`${path}:${toolsDir}`)))
  if (found !== undefined) return found
  await buildPrograms(flavour === 'minio' ? [minio, mc] : [versitygw], toolsDir, path)
  const built = builtStore(flavour, toolsDir)
  if (built === undefined)
    throw new FatalError(
      `${toolsDir} holds no ${flavour} after its build`,
      'make deploy begins it anew',
    )
  return built
}

/** Without building anything. */
export function builtStore(flavour: StoreFlavour, toolsDir: string): StorePrograms | undefined {
  const server = builtProgram(flavour === 'minio' ? minio : versitygw, toolsDir)
  const admin = flavour === 'minio' ? builtProgram(mc, toolsDir) : server
  return server === undefined || admin === undefined ? undefined : { flavour, server, admin }
}

/** Of any version, for it is this machine's own. */
function minioOnPath(path: string | undefined): StorePrograms | undefined {
  const [server, admin] = ['minio', 'mc'].map((name) => findProgram(name, path))
  return server === undefined || admin === undefined
    ? undefined
    : { flavour: 'minio', server, admin }
}

/** Only of the version that was tried. */
async function versitygwOnPath(path: string): Promise<StorePrograms | undefined> {
  const server = findProgram('versitygw', path)
  if (server === undefined) return undefined
  const found = await moduleVersion(server, path)
  if (found === versitygw.version) return { flavour: 'versitygw', server, admin: server }
  say(`  ${server} is not ${versitygw.version}, but ${found ?? 'of an unknown version'}: not used`)
  return undefined
}

/** For people. What `go install` builds does not know its version by itself. */
export async function storeVersion(server: string, path = process.env['PATH']): Promise<string> {
  const built = parseBuiltPath(server)
  const title = basename(server) === 'minio' ? minio.title : versitygw.title
  if (built !== undefined) return `${title} ${readableVersion(built.version)}`
  const said = (await runCommand([server, '--version'])).stdout.split('\n')[0] ?? ''
  const release = /RELEASE\S+/.exec(said)?.[0]
  if (release !== undefined) return `${title} ${release}`
  const found = await moduleVersion(server, path)
  return `${title} ${found === undefined ? 'of an unknown version' : readableVersion(found)}`
}

async function moduleVersion(file: string, path: string | undefined): Promise<string | undefined> {
  const go = await findGo(path)
  if (go === undefined) return undefined
  const { stdout } = await runCommand([go, 'version', '-m', file])
  return /^\tmod\t\S+\t(v\S+)/m.exec(stdout)?.[1]
}
