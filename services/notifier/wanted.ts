// What one endpoint is told, and in which words. Pure: no network, no state.
import { verdictNames, type EndpointConfig } from '../shared/config-schema.ts'
import {
  canaryPrefix,
  type ActionType,
  type OutMessage,
  type VerdictMessage,
} from '../shared/messages.ts'

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

/** The bytes to send: the message as it is, or the original's `{"Message": "<the event>"}` with status and action. */
export function webhookBody(
  format: EndpointConfig['format'],
  raw: Buffer,
  message: OutMessage,
): Buffer {
  if (format === 'standard' || !isVerdict(message)) return raw
  const { scanResultDetails, action } = message.data
  return Buffer.from(
    JSON.stringify({
      Message: JSON.stringify(originalEvent(message)),
      status: legacyStatus(scanResultDetails.scanResultStatus),
      action: legacyActions[action.type],
    }),
  )
}

function isVerdict(message: OutMessage): message is VerdictMessage {
  return 'scanResultDetails' in message.data
}

const legacyActions: Record<ActionType, string> = { none: 'no', tag: 'tag', delete: 'delete' }

function legacyStatus(status: string): 'clean' | 'infected' | 'no' {
  if (status === 'CLEAN') return 'clean'
  return status === 'INFECTED' ? 'infected' : 'no'
}

/** The store's notification as far as the verdict remembers it, in MinIO's dialect. */
function originalEvent(message: VerdictMessage) {
  const { bucketName, objectKey, size, eTag, versionId, lastModified } =
    message.data.s3ObjectDetails
  const name = 's3:ObjectCreated:Put'
  const record = {
    eventVersion: '2.0',
    eventSource: 'minio:s3',
    eventTime: lastModified ?? message.timestamp,
    eventName: name,
    s3: {
      s3SchemaVersion: '1.0',
      bucket: { name: bucketName, arn: `arn:aws:s3:::${bucketName}` },
      object: { key: formEncode(objectKey), size, eTag, versionId },
    },
  }
  return { EventName: name, Key: `${bucketName}/${objectKey}`, Records: [record] }
}

/** As the store encodes keys in events: a form's encoding, a space is `+`. */
function formEncode(key: string): string {
  return encodeURIComponent(key.toWellFormed())
    .replaceAll('%20', '+')
    .replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
}
