// S3 calls of the command line as one identity: uploads that tell their version, over the CA of the deployment.
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { Client } from 'minio'
import { createObjectStore, type ObjectStore } from '../shared/object-store.ts'
import type { Access, Credentials } from './runtime.ts'

export function openStore(access: Access, who: Credentials, timeoutMs = 10_000): ObjectStore {
  const { endpoint: url, region, caFile } = access
  return createObjectStore({ url, region, caFile, timeoutMs, ...who })
}

export interface Uploader {
  put(key: string, body: Buffer): Promise<{ versionId: string | undefined }>
  close(): void
}

export function openUploader(access: Access, who: Credentials): Uploader {
  const url = new URL(access.endpoint)
  const agent = new Agent({ keepAlive: true, ca: readFileSync(access.caFile) })
  const client = new Client({
    endPoint: url.hostname,
    port: Number(url.port || 443),
    useSSL: true,
    region: access.region,
    accessKey: who.user,
    secretKey: who.password,
    pathStyle: true,
    transportAgent: agent,
  })
  return {
    put: async (key, body) => {
      const { versionId } = await client.putObject(access.bucket, key, body, body.length)
      return { versionId: versionId ?? undefined }
    },
    close: () => agent.destroy(),
  }
}
