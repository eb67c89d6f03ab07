// What clamd's replies mean. Whatever is not exactly known is an error: clamd can send `…ERROR` and `stream: OK`
// for one and the same infected file, so nothing is ever concluded from a part or the end of a reply.
import { EngineUnavailableError, OutageError } from '../../shared/errors.ts'
import type { EngineInfo, Finding } from './engine.ts'
import { findingOf } from './heuristics.ts'

export type ClamdFailure =
  | 'closed'
  | 'stall'
  | 'timeout'
  /** clamd is well, and does not come to an end with this object */
  | 'too-long'
  | 'read-timeout'
  | 'size-limit'
  | 'scan-error'
  | 'protocol'
  | 'incomplete'

/** This scan came to nothing; another attempt may. Decide on `kind`, never on the message. */
export class ClamdError extends Error {
  override name = 'ClamdError'
  readonly kind: ClamdFailure

  constructor(kind: ClamdFailure, message: string, options?: ErrorOptions) {
    super(message, options)
    this.kind = kind
  }
}

/**
 * No room for what is received: everybody's trouble. `Can't write to file` is not among them: it comes while an archive is unpacked,
 * and an archive that fills the folder every time must not pause the worker for ever.
 */
const noSpace = /^(?:stream: )?(?:Error writing to temporary file|Can't create temporary)/

/** One complete reply to INSTREAM, its id taken off. Throws for everything that is not a finding. */
export function findingInReply(reply: string): Finding {
  if (reply === 'stream: OK') return { status: 'clean' }
  const signature = foundSignature(reply)
  if (signature !== undefined) return findingOf(signature)
  throw failureInReply(reply)
}

function foundSignature(reply: string): string | undefined {
  // oxlint-disable-next-line no-control-regex
  return /^stream: ([^\u0000-\u0020][^\u0000-\u001f]*) FOUND$/.exec(reply)?.[1]
}

/** The error in a reply that is no finding, with or without an id. */
export function failureInReply(reply: string): Error {
  const shown = JSON.stringify(reply.length > 200 ? `${reply.slice(0, 200)}…` : reply)
  if (noSpace.test(reply))
    return new OutageError(`clamd has no room in its temporary folder: ${shown}`)
  if (reply.includes('COMMAND READ TIMED OUT'))
    return new ClamdError('read-timeout', 'clamd gave up waiting for us (ReadTimeout)')
  if (reply === 'INSTREAM size limit exceeded. ERROR')
    return new ClamdError(
      'size-limit',
      'the object is within our limit, but over StreamMaxLength of clamd',
    )
  const scan = /^stream: (.*) ERROR$/s.exec(reply)
  if (scan) return new ClamdError('scan-error', `clamd could not scan: ${JSON.stringify(scan[1])}`)
  return new ClamdError('protocol', `clamd answered what it never should: ${shown}`)
}

/** `ClamAV 1.4.6/27800/Fri Nov 20 09:12:47 2026`, or only `ClamAV 1.4.6` when no official set is loaded. */
export function engineInfoOf(
  reply: string,
  set: EngineInfo['signatureSet'] | undefined,
): EngineInfo {
  const match = /^ClamAV ([\w.+~-]+)(?:\/(\d+)\/([\w :]+))?$/.exec(reply)
  const [, engineVersion, signatureVersion, date] = match ?? []
  // After a failed reload clamd 1.4 has no engine at all and says so only by this number.
  if (engineVersion === undefined || signatureVersion === '4294967295')
    throw new EngineUnavailableError(
      `clamd has no usable signatures: VERSION says ${JSON.stringify(reply.slice(0, 200))}`,
    )
  if (signatureVersion === undefined || date === undefined)
    return { engineVersion, signatureVersion: '0', signatureSet: set ?? 'custom' }
  const seconds = Date.parse(`${date} UTC`)
  return {
    engineVersion,
    signatureVersion,
    ...(Number.isNaN(seconds) ? {} : { signatureDate: new Date(seconds).toISOString() }),
    signatureSet: set ?? 'official',
  }
}
