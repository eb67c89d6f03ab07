// An upload by an HTML form: what MinIO refuses in headers (our tags), or no client sends there, comes through it.
import type { Client, PostPolicy } from 'minio'
import { Agent, request } from 'undici'

export interface FormOptions {
  /** Adds fields. */
  edit?: (policy: PostPolicy) => void
  /** Behind the address: `?versionId=…`. */
  query?: string
  headers?: Readonly<Record<string, string>>
}

/** @throws Error with the store's `code` when it refuses. */
export async function postForm(
  { client, bucket, ca }: { client: Client; bucket: string; ca: string },
  key: string,
  body: Buffer,
  { edit, query = '', headers = {} }: FormOptions = {},
): Promise<void> {
  const policy = client.newPostPolicy()
  policy.setBucket(bucket)
  policy.setKey(key)
  policy.setExpires(new Date(Date.now() + 600_000))
  edit?.(policy)
  const { postURL, formData } = await client.presignedPostPolicy(policy)
  const fields = new FormData()
  for (const [name, value] of Object.entries(formData)) fields.append(name, String(value))
  fields.append('file', new Blob([new Uint8Array(body)]), 'file')
  const encoded = new Response(fields)
  const type = encoded.headers.get('content-type') ?? ''
  await sendBare(
    ca,
    `${postURL}${query}`,
    'POST',
    { 'content-type': type, ...headers },
    Buffer.from(await encoded.arrayBuffer()),
  )
}

/** A request that is not signed by us. @throws Error with the store's `code` when it refuses. */
export async function sendBare(
  ca: string,
  url: string,
  method: 'PUT' | 'POST',
  headers: Record<string, string>,
  body: Buffer,
): Promise<void> {
  const dispatcher = new Agent({ connect: { ca }, allowH2: false })
  try {
    const answer = await request(url, { method, headers, body, dispatcher })
    const said = await answer.body.text()
    const code = /<Code>([^<]*)</.exec(said)?.[1]
    if (answer.statusCode >= 300)
      throw Object.assign(new Error(`${answer.statusCode} ${said}`), { code })
  } finally {
    await dispatcher.close()
  }
}
