// Messages of the verdicts exchange and deliveries of them, as a test needs them.
import type { Delivery } from '../../services/shared/consumer.ts'
import type { ObjectMessage, Outcome, VerdictMessage } from '../../services/shared/messages.ts'

export function verdictMessage(
  outcome: Outcome = 'INFECTED',
  key = 'in/a b+c.txt',
): VerdictMessage {
  return {
    type: `object.scan.${outcome.toLowerCase()}`,
    timestamp: '2026-11-21T10:00:01.000Z',
    data: {
      schemaVersion: '1.0',
      scanStatus: outcome === 'FAILED' ? 'FAILED' : outcome === 'SKIPPED' ? 'SKIPPED' : 'COMPLETED',
      resourceType: 'S3_OBJECT',
      s3ObjectDetails: {
        bucketName: 'storagebucket',
        objectKey: key,
        versionId: 'v1',
        eTag: '44d88612fea8a8f36de82e1278abb02f',
        size: 68,
        lastModified: '2026-11-21T10:00:00.000Z',
      },
      scanResultDetails: {
        scanResultStatus: outcome,
        threats: outcome === 'INFECTED' ? [{ name: 'Eicar-Test-Signature' }] : [],
        statusReasons: outcome === 'UNSCANNABLE' ? [107] : [],
      },
      action: { type: outcome === 'INFECTED' ? 'delete' : 'tag' },
      attempt: 1,
      trigger: 'event',
    },
  }
}

export function objectMessage(
  type = 'object.deleted',
  key = verdictMessage().data.s3ObjectDetails.objectKey,
): ObjectMessage {
  return {
    type,
    timestamp: '2026-11-21T10:00:02.000Z',
    data: {
      schemaVersion: '1.0',
      s3ObjectDetails: { bucketName: 'storagebucket', objectKey: key, versionId: 'v1' },
      action: { type: 'delete', verdictId: 'b5c6' },
    },
  }
}

export function deliveryOf(message: unknown, overrides: Partial<Delivery> = {}): Delivery {
  return {
    body: Buffer.isBuffer(message) ? message : Buffer.from(JSON.stringify(message)),
    attempt: 1,
    deliveries: 0,
    again: false,
    fromStore: false,
    messageId: '0b9e2d1c-5d3a-5f7e-9a46-1f6f3a5e7c10',
    type: undefined,
    routingKey: 'verdict.infected.storagebucket',
    headers: {},
    signal: new AbortController().signal,
    ...overrides,
  }
}
