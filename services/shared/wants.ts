// Which endpoint is told of what. The worker asks it for where a verdict is to go, the notifier again for what it got: the
// configuration may have changed meanwhile.
import { canaryPrefix, isCanary } from './canary-objects.ts'
import { verdictNames, type EndpointConfig } from './config-schema.ts'
import type { OutMessage } from './messages.ts'

const scanType = /^object\.scan\.([a-z]+)$/

/** Whether the endpoint wants to hear of it; canary objects and everything for an endpoint without a url: no. */
export function wants(endpoint: EndpointConfig, message: OutMessage): boolean {
  if (endpoint.url === '') return false
  const key = message.data.s3ObjectDetails.objectKey
  if (!key.startsWith(endpoint.prefix) || isOfCanary(message)) return false
  const verdict = scanType.exec(message.type)?.[1]
  // The original knew no events after the verdict, and a legacy receiver would take one for a second verdict.
  if (verdict === undefined) return endpoint.objectEvents && endpoint.format === 'standard'
  return verdictNames.some((name) => name === verdict && endpoint.verdicts.includes(name))
}

function isOfCanary({ data }: OutMessage): boolean {
  const { objectKey: key, eTag: md5 = '' } = data.s3ObjectDetails
  if (!key.startsWith(canaryPrefix)) return false
  // An uploader can choose an ETag on MinIO, and no hash.
  const sha256 = 'scan' in data ? data.scan?.sha256 : undefined
  return isCanary(key, sha256 === undefined ? { md5 } : { sha256 })
}
