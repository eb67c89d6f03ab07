// Where each part of a native deployment keeps what, as paths below RUN_DIR.
import { createHash } from 'node:crypto'
import { chmodSync, lstatSync, mkdirSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { FatalError } from '../shared/errors.ts'

/** Longest path of a unix socket on Linux, without its terminating zero. */
export const maxSocketPath = 107
/** Each worker keeps a socket as a lock in the scan folder, so its path is limited too. */
const maxScanFolder = 85

export interface Layout {
  runDir: string
  certs: string
  caFile: string
  caBundle: string
  /** As `init certificates` lays them out. */
  storeCerts: string
  brokerCerts: string
  auditCerts: string
  broker: string
  engine: string
  engineSocket: string
  signatures: string
  store: string
  audit: string
  scan: string
  logs: string
}

/** A short, private name for a run folder, for what cannot have a long path or must be unique on the machine. */
export function shortName(runDir: string): string {
  return createHash('sha256').update(runDir).digest('hex').slice(0, 10)
}

/** The folder for sockets when RUN_DIR is too deep for one. */
export function socketFallback(runDir: string): string {
  return join(tmpdir(), `avscan-${userInfo().uid}-${shortName(runDir)}`)
}

export function layoutOf(runDir: string): Layout {
  const inside = join(runDir, 'engine/clamd.sock')
  const scan = join(runDir, 'scan')
  const certs = join(runDir, 'certs')
  return {
    runDir,
    certs,
    caFile: join(certs, 'trust/ca.pem'),
    caBundle: join(certs, 'trust/bundle.pem'),
    storeCerts: join(certs, 'store'),
    brokerCerts: join(certs, 'broker'),
    auditCerts: join(certs, 'store-audit'),
    broker: join(runDir, 'broker'),
    engine: join(runDir, 'engine'),
    engineSocket:
      Buffer.byteLength(inside) <= maxSocketPath
        ? inside
        : join(socketFallback(runDir), 'clamd.sock'),
    signatures: join(runDir, 'engine/signatures'),
    store: join(runDir, 'store'),
    audit: join(runDir, 'store-audit'),
    scan: Buffer.byteLength(scan) <= maxScanFolder ? scan : join(socketFallback(runDir), 'scan'),
    logs: join(runDir, 'log'),
  }
}

/** Makes the folders, private to this user. */
export function makeFolders(layout: Layout): void {
  const { runDir, certs, broker, engine, store, audit, scan, logs } = layout
  const inside = (path: string) => path.startsWith(`${runDir}/`)
  if (!inside(layout.engineSocket) || !inside(scan)) makeFallback(runDir)
  const parts = [broker, engine, join(engine, 'tmp'), store, audit, scan, logs]
  for (const folder of [runDir, certs, ...parts]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    chmodSync(folder, 0o700)
  }
}

function makeFallback(runDir: string): void {
  const fallback = socketFallback(runDir)
  mkdirSync(fallback, { recursive: true, mode: 0o700 })
  // In a folder that everybody may write, somebody else may have been first.
  const found = lstatSync(fallback)
  if (!found.isDirectory() || found.uid !== userInfo().uid)
    throw new FatalError(
      `${fallback} belongs to somebody else`,
      'remove it, or use a shorter path for the checkout',
    )
  chmodSync(fallback, 0o700)
}
