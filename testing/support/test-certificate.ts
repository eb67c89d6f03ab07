// A self-signed certificate for 127.0.0.1, made with the openssl command for one test run.
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

export interface TestCertificate {
  certFile: string
  keyFile: string
  cert: string
  key: string
}

/** Writes `name`.crt and `name`.key into `folder`; the certificate is also the CA to trust. */
export async function testCertificate(
  folder: string,
  name = 'server',
  names = 'IP:127.0.0.1,DNS:localhost',
): Promise<TestCertificate> {
  const certFile = join(folder, `${name}.crt`)
  const keyFile = join(folder, `${name}.key`)
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ]
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`]
  await promisify(execFile)('openssl', [
    ...request,
    ...subject,
    '-keyout',
    keyFile,
    '-out',
    certFile,
  ])
  return {
    certFile,
    keyFile,
    cert: await readFile(certFile, 'utf8'),
    key: await readFile(keyFile, 'utf8'),
  }
}
