// Makes and judges X.509 certificates: a CA of our own and server certificates under it. Knows no files.
// The X.509 library injects its parts by decorators and asks for this polyfill, first of all.
// oxlint-disable-next-line import/no-unassigned-import
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { createPrivateKey, createPublicKey, webcrypto, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const day = 24 * 3600 * 1000
const caDays = 3650
const serverDays = 397
/** Something that ends sooner is made anew. */
export const renewBeforeMs = 30 * day
// Machines whose clocks are a little behind must not refuse a fresh certificate.
const backdateMs = 3600 * 1000

export interface Pair {
  certificate: string
  key: string
}

function serial(): string {
  // A positive number: the first bit of an ASN.1 integer is its sign.
  const bytes = webcrypto.getRandomValues(new Uint8Array(16))
  bytes[0] = (bytes[0] ?? 0) & 0x7f || 1
  return Buffer.from(bytes).toString('hex')
}

async function importKeys(keyPem: string): Promise<webcrypto.CryptoKeyPair> {
  const der = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' })
  const spki = createPublicKey(keyPem).export({ type: 'spki', format: 'der' })
  const { subtle } = webcrypto
  return {
    privateKey: await subtle.importKey('pkcs8', der, algorithm, true, ['sign']),
    publicKey: await subtle.importKey('spki', spki, algorithm, true, ['verify']),
  }
}

async function generateKeys(): Promise<{ keys: webcrypto.CryptoKeyPair; pem: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const der = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)
  return { keys, pem: x509.PemConverter.encode(der, 'PRIVATE KEY') + '\n' }
}

/** A CA; with `keyPem` the same one renewed, so that what it signed before stays good. */
export async function createAuthority(now: Date, keyPem?: string): Promise<Pair> {
  const { keys, pem } =
    keyPem === undefined ? await generateKeys() : { keys: await importKeys(keyPem), pem: keyPem }
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: 'CN=bucket-av-scanner CA',
    notBefore: new Date(now.getTime() - backdateMs),
    notAfter: new Date(now.getTime() + caDays * day),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: certificate.toString('pem') + '\n', key: pem }
}

export interface ServerOptions {
  authority: Pair
  /** DNS names and IP addresses; the first one is also the subject. */
  names: readonly string[]
  now: Date
  /** When it ends (tests); default in 397 days. */
  notAfter?: Date
}

/** A server certificate (leaf only) and its key. */
export async function issueServer({
  authority,
  names,
  now,
  notAfter,
}: ServerOptions): Promise<Pair> {
  const issuer = new x509.X509Certificate(authority.certificate)
  const { privateKey } = await importKeys(authority.key)
  const { keys, pem } = await generateKeys()
  const end = notAfter ?? new Date(now.getTime() + serverDays * day)
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [{ CN: [names[0] ?? 'localhost'] }],
    issuer: issuer.subject,
    notBefore: new Date(Math.min(now.getTime(), end.getTime()) - backdateMs),
    notAfter: end,
    signingKey: privateKey,
    publicKey: keys.publicKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((name) => ({ type: isIP(name) === 0 ? 'dns' : 'ip', value: name })),
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return { certificate: certificate.toString('pem') + '\n', key: pem }
}

/** Why this pair cannot go on serving, or undefined when it can. */
export function flawOf(
  pair: Pair,
  caPem: string,
  names: readonly string[],
  now: Date,
): string | undefined {
  let leaf: X509Certificate
  let ca: X509Certificate
  try {
    leaf = new X509Certificate(pair.certificate)
    ca = new X509Certificate(caPem)
    if (!leaf.checkPrivateKey(createPrivateKey(pair.key))) return 'the key does not fit'
  } catch {
    return 'unreadable'
  }
  if (!leaf.checkIssued(ca) || !leaf.verify(ca.publicKey)) return 'signed by another CA'
  const missing = names.filter((name) => !covers(leaf, name))
  if (missing.length > 0) return `not for ${missing.join(', ')}`
  return dateFlaw(leaf, now)
}

/** Whether it has ended or will within the renewal time; the words name the day. */
export function dateFlaw(certificate: X509Certificate, now: Date): string | undefined {
  const end = certificate.validToDate
  const on = end.toISOString().slice(0, 10)
  if (end <= now) return `ended on ${on}`
  if (certificate.validFromDate > now)
    return `begins on ${certificate.validFromDate.toISOString().slice(0, 10)}`
  return end.getTime() - now.getTime() < renewBeforeMs ? `ends on ${on}` : undefined
}

export function covers(certificate: X509Certificate, name: string): boolean {
  const found = isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)
  return found !== undefined
}
