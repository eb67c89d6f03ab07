// Which endpoint is told of what. The worker asks it for where a verdict is to go, the notifier again for what it got: the
// configuration may have changed meanwhile.
import { verdictNames, type EndpointConfig } from './config-schema.ts'
import { canaryPrefix, type OutMessage } from './messages.ts'

const scanType = /^object\.scan\.([a-z]+)$/

/** Whether the endpoint wants to hear of it; canary objects and everything for an endpoint without a url: no. */
export function wants(endpoint: EndpointConfig, message: OutMessage): boolean {
  if (endpoint.url === '') return false
  const key = message.data.s3ObjectDetails.objectKey
  if (key.startsWith(canaryPrefix) || !key.startsWith(endpoint.prefix)) return false
  const verdict = scanType.exec(message.type)?.[1]
  // The original knew no events after the verdict, and a legacy receiver would take one for a second verdict.
  if (verdict === undefined) return endpoint.objectEvents && endpoint.format === 'standard'
  return verdictNames.some((name) => name === verdict && endpoint.verdicts.includes(name))
}
