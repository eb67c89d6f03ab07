// The certificates of a test process: made once by the code that makes the real ones.
import { join } from 'node:path'
import {
  ensureCertificates,
  serverFiles,
  trustFiles,
  type ServerKind,
} from '../../services/init/certificates.ts'
import { createReport } from '../../services/init/report.ts'
import { silentLog } from '../../services/shared/log.ts'
import { testFolder } from './test-process.ts'

export interface TestCerts {
  folder: string
  /** For TLS_CA. */
  ca: string
  /** For SSL_CERT_FILE of a store. */
  bundle: string
  server(kind: ServerKind): { folder: string; certificate: string; key: string }
}

let made: Promise<TestCerts> | undefined

export function testCerts(): Promise<TestCerts> {
  made ??= make()
  return made
}

async function make(): Promise<TestCerts> {
  const folder = join(testFolder('certs'), 'certs')
  const names = {
    store: ['minio-service'],
    broker: ['mq-service'],
    'store-audit': ['store-audit'],
    'clamav-rest': ['clamd-service'],
  }
  await ensureCertificates({ folder, names, owners: {}, now: new Date() }, createReport(silentLog))
  return {
    folder,
    ...trustFiles(folder),
    server(kind) {
      const { certificate, key } = serverFiles[kind]
      const own = join(folder, kind)
      return { folder: own, certificate: join(own, certificate), key: join(own, key) }
    },
  }
}
