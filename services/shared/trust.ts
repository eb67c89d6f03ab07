// Whom our TLS clients trust: the public CAs and the one that `init certificates` made. Nothing switches verification off.
import { readFileSync } from 'node:fs'
import { rootCertificates } from 'node:tls'
import { FatalError, describeError, errorCode } from './errors.ts'

/** PEM certificates for the `ca` option of a TLS client; undefined: Node's own list. */
export function trustedCas(caFile: string): string[] | undefined {
  if (caFile === '') return undefined
  try {
    const pem = readFileSync(caFile, 'utf8')
    if (!pem.includes('-----BEGIN CERTIFICATE-----')) throw new Error('it holds no certificate')
    return [...rootCertificates, pem]
  } catch (error) {
    throw new FatalError(
      `read the CA file ${caFile}: ${describeError(error)}`,
      'TLS_CA names the ca.crt that `init certificates` writes',
    )
  }
}

const tlsCodes: Record<string, string> = {
  CERT_HAS_EXPIRED: 'its certificate has expired; run `init certificates` and restart it',
  DEPTH_ZERO_SELF_SIGNED_CERT:
    'its certificate is signed by nobody we trust; set TLS_CA to the CA that signed it',
  SELF_SIGNED_CERT_IN_CHAIN:
    'its certificate is signed by a CA we do not trust; set TLS_CA to that CA',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'its certificate is signed by a CA we do not trust; set TLS_CA to that CA',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    'its certificate is signed by a CA we do not trust; set TLS_CA to that CA',
  UNABLE_TO_GET_ISSUER_CERT:
    'its certificate is signed by a CA we do not trust; set TLS_CA to that CA',
  CERT_SIGNATURE_FAILURE:
    'its certificate does not fit the CA in TLS_CA; both must come from the same `init certificates`',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet; are the clocks right?',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'its certificate is for another host name; add the name to TLS_NAMES and run `init certificates`',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS on this port',
  EPROTO: 'the TLS handshake failed; does it speak TLS on this port?',
}

/** What is wrong with a peer's TLS in words, or undefined when `error` is about something else. */
export function tlsProblem(error: unknown): string | undefined {
  const code = errorCode(error)
  return code === undefined ? undefined : tlsCodes[code]
}
