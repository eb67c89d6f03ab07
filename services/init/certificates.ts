// `init certificates`: a CA of our own and one certificate per TLS server, in the layout that both runtimes rely on:
//   CERTS_DIR/private/      0700  ca.key (0600), ca.pem: seen by this command only
//   CERTS_DIR/trust/        ca.pem: TLS_CA of every client; bundle.pem: the system's roots and our CA, SSL_CERT_FILE of the store
//   CERTS_DIR/store/        public.crt, private.key (0600), CAs/avscan.crt: `minio --certs-dir`; `versitygw --cert --key`
//   CERTS_DIR/broker/       cert.pem, key.pem (0600), ca.pem: rabbitmq's ssl_options and management.ssl
//   CERTS_DIR/store-audit/  server.crt, server.key (0600): what the store's audit log is sent to
//   CERTS_DIR/clamav-rest/  server.crt, server.key (0600): mounted at /etc/ssl/clamav-rest
// Each sub-folder can be a volume of its own, so that a server sees only its own key. Certificate files hold leaf and CA.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { FatalError } from '../shared/errors.ts'
import { placeFile, readIfThere, readNamed, systemRoots, type Owner } from './certificate-files.ts'
import { asWanted, type Report } from './report.ts'
import { covers, createAuthority, dateFlaw, flawOf, issueServer, type Pair } from './x509.ts'

export const serverKinds = ['store', 'broker', 'store-audit', 'clamav-rest'] as const
/** Those that get a certificate of your own. */
const ownKinds = serverKinds.filter((kind) => kind !== 'store-audit')
export type ServerKind = (typeof serverKinds)[number]

export const serverFiles: Record<ServerKind, { certificate: string; key: string; ca?: string }> = {
  store: { certificate: 'public.crt', key: 'private.key', ca: 'CAs/avscan.crt' },
  broker: { certificate: 'cert.pem', key: 'key.pem', ca: 'ca.pem' },
  'store-audit': { certificate: 'server.crt', key: 'server.key' },
  'clamav-rest': { certificate: 'server.crt', key: 'server.key' },
}

export interface CertificateOptions {
  folder: string
  /** The names of each server besides localhost, 127.0.0.1 and ::1. */
  names: Record<ServerKind, readonly string[]>
  owners: Partial<Record<ServerKind, Owner>>
  /** Paths of a certificate of your own for all servers. */
  own?: { certificate: string; key: string; ca: string }
  /** Where the system's roots are; undefined: the usual places. */
  rootsFile?: string | undefined
  now: Date
}

/** The files that clients and the store need, for the other parts of the project. */
export function trustFiles(folder: string): { ca: string; bundle: string } {
  return { ca: join(folder, 'trust/ca.pem'), bundle: join(folder, 'trust/bundle.pem') }
}

export function allNames(own: readonly string[]): string[] {
  return [...new Set([...own, 'localhost', '127.0.0.1', '::1'])]
}

/** Brings CERTS_DIR to what is wanted. @throws FatalError when a certificate of your own cannot serve. */
export function ensureCertificates(options: CertificateOptions, report: Report): Promise<void> {
  return options.own === undefined ? ensureOurs(options, report) : copyOwn(options, report)
}

async function ensureOurs(options: CertificateOptions, report: Report): Promise<void> {
  const authority = await ensureAuthority(options.folder, options.now, report)
  for (const kind of serverKinds) await ensureServer(options, kind, authority, report)
  placeTrust(options, authority.certificate, report)
}

async function ensureServer(
  options: CertificateOptions,
  kind: ServerKind,
  authority: Pair,
  report: Report,
): Promise<void> {
  const { folder, now } = options
  const names = allNames(options.names[kind])
  const found = readPair(folder, kind)
  const flaw = found && flawOf(found, authority.certificate, names, now)
  let pair = found
  if (pair === undefined || flaw !== undefined) pair = await issueServer({ authority, names, now })
  placeServer(options, kind, pair, authority.certificate)
  const outcome =
    found === undefined ? 'created' : flaw === undefined ? asWanted : `made anew (${flaw})`
  report.say(`certificate ${kind}`, outcome)
}

async function ensureAuthority(folder: string, now: Date, report: Report): Promise<Pair> {
  const certificateFile = join(folder, 'private/ca.pem')
  const keyFile = join(folder, 'private/ca.key')
  const key = readIfThere(keyFile)
  const certificate = readIfThere(certificateFile)
  if (key !== undefined && certificate !== undefined) {
    const flaw = flawOf({ certificate, key }, certificate, [], now)
    if (flaw === undefined) {
      report.say('certificate authority', asWanted)
      return { certificate, key }
    }
    if (flaw === 'unreadable' || flaw === 'the key does not fit')
      throw new FatalError(
        `${certificateFile} and ca.key: ${flaw}`,
        `restore them, or remove ${folder}/private to get a new CA (every client then needs the new one)`,
      )
    report.say('certificate authority', `renewed with the same key (${flaw})`)
  } else {
    report.say('certificate authority', key === undefined ? 'created' : 'completed')
  }
  const authority = await createAuthority(now, key)
  // The key first: a certificate without its key could never be renewed.
  placeFile(keyFile, authority.key, { mode: 0o600, folderMode: 0o700 })
  placeFile(certificateFile, authority.certificate, { mode: 0o644, folderMode: 0o700 })
  return authority
}

function readPair(folder: string, kind: ServerKind): Pair | undefined {
  const files = serverFiles[kind]
  const certificate = readIfThere(join(folder, kind, files.certificate))
  const key = readIfThere(join(folder, kind, files.key))
  return certificate === undefined || key === undefined ? undefined : { certificate, key }
}

function placeServer(options: CertificateOptions, kind: ServerKind, pair: Pair, ca: string): void {
  const files = serverFiles[kind]
  const owner = options.owners[kind]
  const at = (name: string) => join(options.folder, kind, name)
  const chain = firstBlock(pair.certificate) + restOfChain(pair.certificate, ca)
  placeFile(at(files.key), pair.key, { mode: 0o600, owner })
  placeFile(at(files.certificate), chain, { mode: 0o644, owner })
  if (files.ca !== undefined) placeFile(at(files.ca), ca, { mode: 0o644, owner })
}

function blocks(pem: string): string[] {
  return (
    pem
      .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
      ?.map((block) => `${block}\n`) ?? []
  )
}

function firstBlock(pem: string): string {
  return blocks(pem)[0] ?? ''
}

/** Intermediates that came with it (your own), else the CA. */
function restOfChain(pem: string, ca: string): string {
  const ours = new X509Certificate(firstBlock(pem)).checkIssued(new X509Certificate(ca))
  return ours ? firstBlock(ca) : blocks(pem).slice(1).join('')
}

function placeTrust(options: CertificateOptions, ca: string, report: Report): void {
  const { ca: caFile, bundle } = trustFiles(options.folder)
  const changed = placeFile(caFile, ca, { mode: 0o644 })
  const roots = systemRoots(options.rootsFile)
  const both = placeFile(bundle, `${roots.trimEnd()}\n${ca}`, { mode: 0o644 })
  report.say('trusted certificates', changed || both ? 'written' : asWanted)
}

async function copyOwn(options: CertificateOptions, report: Report): Promise<void> {
  const { own, now } = options
  if (own === undefined) return
  const certificate = readNamed('TLS_CERT', own.certificate)
  const key = readNamed('TLS_KEY', own.key)
  const ca = readNamed('TLS_CA', own.ca)
  const warning = checkOwn(own, { certificate, key }, ca, options)
  if (warning !== undefined) report.warn(`TLS_CERT ${own.certificate} ${warning}; renew it in time`)
  for (const kind of ownKinds) {
    const before = readPair(options.folder, kind)
    placeServer(options, kind, { certificate, key }, ca)
    const after = readPair(options.folder, kind)
    const same = before?.certificate === after?.certificate && before?.key === after?.key
    report.say(`certificate ${kind}`, same ? asWanted : 'copied from TLS_CERT')
  }
  placeTrust({ ...options, now }, ca, report)
  // Between the store and the receiver of its audit log nobody else speaks: no name of theirs has to be in your certificate.
  const authority = await ensureAuthority(options.folder, now, report)
  await ensureServer(options, 'store-audit', authority, report)
  const trusted = join(options.folder, 'store/CAs/store-audit.crt')
  placeFile(trusted, authority.certificate, { mode: 0o644, owner: options.owners.store })
}

function refuse(what: string, hint: string, cause?: unknown): never {
  throw new FatalError(what, hint, { cause })
}

/** @throws FatalError naming what does not fit; returns words about an end that is near. */
function checkOwn(
  own: NonNullable<CertificateOptions['own']>,
  pair: Pair,
  ca: string,
  { names, now }: CertificateOptions,
): string | undefined {
  let leaf: X509Certificate
  try {
    leaf = new X509Certificate(pair.certificate)
    if (!leaf.checkPrivateKey(createPrivateKey(pair.key)))
      refuse(
        `TLS_KEY ${own.key} is not the key of TLS_CERT ${own.certificate}`,
        'both must be one pair',
      )
    const authority = new X509Certificate(ca)
    const chain = blocks(pair.certificate).map((block) => new X509Certificate(block))
    const signed = chain.some(
      (one) => one.checkIssued(authority) && one.verify(authority.publicKey),
    )
    if (!signed)
      refuse(
        `TLS_CERT ${own.certificate} is not signed by TLS_CA ${own.ca}`,
        'TLS_CERT holds the certificate and its intermediates, TLS_CA their root',
      )
  } catch (error) {
    if (error instanceof FatalError) throw error
    return refuse(
      `read TLS_CERT, TLS_KEY and TLS_CA`,
      'all three are PEM files; the key has no passphrase',
      error,
    )
  }
  const wanted = [...new Set(ownKinds.flatMap((kind) => names[kind]))]
  const missing = wanted.filter((name) => !covers(leaf, name))
  if (missing.length > 0)
    refuse(
      `TLS_CERT ${own.certificate} is not for ${missing.join(', ')}`,
      'its subjectAltName must list every server name',
    )
  const flaw = dateFlaw(leaf, now)
  if (flaw !== undefined && !flaw.startsWith('ends'))
    refuse(`TLS_CERT ${own.certificate} ${flaw}`, 'give a certificate that is valid now')
  return flaw
}
