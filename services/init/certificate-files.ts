// Reads and places certificate files: atomically, with their mode and owner, and only when something differs.
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { rootCertificates } from 'node:tls'
import { describeError, errorCode, FatalError } from '../shared/errors.ts'

export interface Owner {
  uid: number
  gid?: number | undefined
}

export interface Placement {
  mode: number
  folderMode?: number
  owner?: Owner | undefined
}

export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw cannot('read', file, error)
  }
}

/** A file that the operator named by a variable. */
export function readNamed(variable: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new FatalError(`${variable}: read ${file}`, 'it must be a readable PEM file', {
      cause: error,
    })
  }
}

/** Makes `file` hold `content`; true when that changed something. */
export function placeFile(file: string, content: string, placement: Placement): boolean {
  const { mode, folderMode = 0o755, owner } = placement
  try {
    const folder = dirname(file)
    mkdirSync(folder, { recursive: true, mode: folderMode })
    // A volume's root comes with the engine's own mode.
    setMode(folder, folderMode)
    if (owner !== undefined) setOwner(folder, owner)
    const differs = readIfThere(file) !== content
    if (differs) {
      const temporary = `${file}.new`
      writeFileSync(temporary, content, { mode })
      setMode(temporary, mode)
      if (owner !== undefined) setOwner(temporary, owner)
      renameSync(temporary, file)
      return true
    }
    setMode(file, mode)
    if (owner !== undefined) setOwner(file, owner)
    return false
  } catch (error) {
    if (error instanceof FatalError) throw error
    throw cannot('write', file, error)
  }
}

function setMode(path: string, mode: number): void {
  if ((statSync(path).mode & 0o777) !== mode) chmodSync(path, mode)
}

function setOwner(path: string, { uid, gid }: Owner): void {
  const found = statSync(path)
  if (found.uid === uid && (gid === undefined || found.gid === gid)) return
  chownSync(path, uid, gid ?? found.gid)
}

function cannot(verb: string, file: string, error: unknown): FatalError {
  const hint =
    errorCode(error) === 'EPERM' || errorCode(error) === 'EACCES'
      ? 'run init as root (with CHOWN, FOWNER and DAC_OVERRIDE), or leave CERTS_…_OWNER empty and CERTS_DIR to this user'
      : 'CERTS_DIR must be a folder on a disk with room'
  return new FatalError(`${verb} ${file}: ${describeError(error)}`, hint)
}

const rootsPlaces = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/cert.pem',
]

/** The public roots of this system; Node's own where it has none. */
export function systemRoots(rootsFile: string | undefined): string {
  if (rootsFile !== undefined) return readNamed('SSL_CERT_FILE', rootsFile)
  for (const place of rootsPlaces) {
    const text = readIfThere(place)
    if (text !== undefined && text.includes('BEGIN CERTIFICATE')) return text
  }
  return `${rootCertificates.join('\n')}\n`
}
