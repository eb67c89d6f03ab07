// What the receiver got, by object version. Only what it answered with 2xx counts as delivered.
import type { ReceivedRequest, WebhookReceiver } from '../support/webhook-receiver.ts'
import type { Upload } from './types.ts'

export interface VersionWebhooks {
  verdicts: ReceivedRequest[]
  deleted: ReceivedRequest[]
}

export const accepted = ({ status }: ReceivedRequest) =>
  status !== undefined && status >= 200 && status < 300

/** `object.scan.infected` → `infected`. */
export const outcomeOf = ({ body }: ReceivedRequest) => body.type.replace(/^object\.scan\./, '')

/** VersityGW's keys are paths: `a//b` is `a/b` there, and so is told by a sweep. */
export const samePlace = (key: string) => key.replaceAll(/\/{2,}/g, '/')

/** What an upload's answer gives no version (MinIO: a key that ends with a slash) is told as the version called null. */
const placeOf = (key: string, versionId = 'null') => `${samePlace(key)}\n${versionId}`

export class Webhooks {
  readonly #receiver: WebhookReceiver
  readonly #byVersion = new Map<string, VersionWebhooks>()
  /** Neither a verdict nor a deletion: none is expected. */
  readonly odd: ReceivedRequest[] = []
  readonly unsigned: ReceivedRequest[] = []
  #seen = 0

  constructor(receiver: WebhookReceiver) {
    this.#receiver = receiver
  }

  get count(): number {
    return this.#receiver.requests.length
  }

  of({ key, versionId }: Pick<Upload, 'key' | 'versionId'>): VersionWebhooks {
    this.#takeIn()
    return this.#at(placeOf(key, versionId))
  }

  /**
   * Verdicts that are not true, whenever they came. What was given up is tried again by later sweeps, and is clean once nothing
   * kills the engine over it any more.
   */
  lies(uploads: readonly Upload[]): string[] {
    return uploads.flatMap((upload) =>
      this.of(upload)
        .verdicts.filter(
          (request) =>
            outcomeOf(request) !== upload.expected &&
            !(upload.expected === 'failed' && outcomeOf(request) === 'clean'),
        )
        .map(
          (request) => `${upload.key} (${upload.expected}): a webhook said ${outcomeOf(request)}`,
        ),
    )
  }

  #takeIn(): void {
    const { requests } = this.#receiver
    for (; this.#seen < requests.length; this.#seen++) {
      const request = requests[this.#seen] as ReceivedRequest
      const details = request.body.data?.s3ObjectDetails
      if (!request.verified) this.unsigned.push(request)
      if (details === undefined) {
        this.odd.push(request)
        continue
      }
      const found = this.#at(placeOf(details.objectKey, details.versionId))
      if (request.body.type.startsWith('object.scan.')) found.verdicts.push(request)
      else if (request.body.type === 'object.deleted') found.deleted.push(request)
      else this.odd.push(request)
    }
  }

  #at(id: string): VersionWebhooks {
    let found = this.#byVersion.get(id)
    if (found === undefined) this.#byVersion.set(id, (found = { verdicts: [], deleted: [] }))
    return found
  }
}

/** What a receiver may rely on being the same in a repetition with the same id. */
export function meaningOf({ body }: ReceivedRequest): string {
  const { s3ObjectDetails, scanResultDetails, action } = body.data
  const { bucketName, objectKey, versionId, eTag } = s3ObjectDetails
  const status = scanResultDetails?.scanResultStatus
  const key = samePlace(objectKey)
  return JSON.stringify([body.type, bucketName, key, versionId, eTag, status, action?.type])
}
