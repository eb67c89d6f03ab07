// The words in which one endpoint is told. Pure: no network, no state.
import type { EndpointConfig } from '../shared/config-schema.ts'
import type { ActionType, OutMessage, VerdictMessage } from '../shared/messages.ts'

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
