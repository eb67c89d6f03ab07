// Standard Webhooks signatures: base64 HMAC-SHA256 of `id.timestamp.body`, one per secret.
import { createHmac } from 'node:crypto'

export interface SignedHeaders {
  'webhook-id': string
  'webhook-timestamp': string
  'webhook-signature': string
}

/**
 * Headers for one attempt. `id` stays the same over retries; the time is the attempt's, for receivers refuse old ones.
 * `secrets` is a comma list of `whsec_…`: a receiver that knows any of them accepts, so one can be replaced without a gap.
 */
export function signedHeaders(
  secrets: string,
  id: string,
  body: Buffer,
  now = Date.now(),
): SignedHeaders {
  const timestamp = String(Math.floor(now / 1000))
  const signatures = secrets.split(',').map((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
    return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')}`
  })
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatures.join(' '),
  }
}
