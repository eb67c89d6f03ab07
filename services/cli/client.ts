// S3 calls of the command line as one identity: uploads that tell their version, over the CA of the deployment.
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { Client } from 'minio'
import { createObjectStore, type ObjectStore } from '../shared/object-store.ts'
import type { Access, Credentials } from './runtime.ts'

type Server = Pick<Access, 'endpoint' | 'region' | 'caFile'>
type Bucket = Server & Pick<Access, 'bucket'>

export function openStore(access: Server, who: Credentials, timeoutMs = 10_000): ObjectStore {
  const { endpoint: url, region, caFile } = access
  return createObjectStore({ url, region, caFile, timeoutMs, ...who })
}

export interface Uploader {
  put(key: string, body: Buffer): Promise<{ versionId: string | undefined }>
  close(): void
}

/** All that the identity can see. */
export async function listBuckets(access: Server, who: Credentials): Promise<string[]> {
  const { client, agent } = connect(access, who)
  try {
    return (await client.listBuckets()).map(({ name }) => name)
  } finally {
    agent.destroy()
  }
}

export function openUploader(access: Bucket, who: Credentials): Uploader {
  const { client, agent } = connect(access, who)
  return {
    put: async (key, body) => {
      const { versionId } = await client.putObject(access.bucket, key, body, body.length)
      return { versionId: versionId ?? undefined }
    },
    close: () => agent.destroy(),
  }
}

function connect(access: Server, who: Credentials) {
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
  return { client, agent }
}
