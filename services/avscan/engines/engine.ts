// The seam between the scan path and whatever judges bytes: what an engine is asked, what it may answer,
// and the canary every engine has to pass before its answers count.
import type { BreakerState } from './breaker.ts'
import { EngineUnavailableError } from '../../shared/errors.ts'
import { eicar } from '../../shared/test-signatures.ts'

export type Finding =
  | { status: 'clean' }
  | { status: 'infected'; signature: string }
  | { status: 'suspicious'; signature: string }
  | {
      status: 'unscannable'
      reason: number
      detail: string
      /** of the container that nobody looked into */
      format?: string
    }

export interface EngineInfo {
  engineVersion: string
  /** `0` when the engine has no official set: then it has no number */
  signatureVersion: string
  /** ISO 8601 */
  signatureDate?: string
  signatureSet: 'official' | 'custom' | 'test'
}

/** Who answers, and by which signatures. */
export interface Judge {
  name: string
  info: EngineInfo
}

/** One object's bytes on their way through one engine. Push style: await each promise before the next call. */
export interface ScanStream {
  /** Holds for the whole scan: a finding by other signatures is none. */
  readonly by: Judge
  /** Takes the next bytes, and may look at them until the next `write` or `end` has resolved; rejects when the scan has failed. */
  write(chunk: Buffer): Promise<void>
  /** All bytes are written: the finding. Rejects unless exactly `size` bytes went in and the engine answered for all of them. */
  end(): Promise<Finding>
  /** Gives up; the engine never sees a complete object. Idempotent; after `end` has resolved it does nothing. */
  abort(error: Error): void
}

/** One address of an engine, for people and metrics. */
export interface AddressState {
  address: string
  breaker: BreakerState
  /** how its last canary ended; undefined before the first */
  canary: boolean | undefined
  /** what its last canary was judged by */
  signatureVersion?: string
  /** why it is left alone, and until when (ISO 8601) */
  reason?: string
  until?: string
}

/** What an engine tells while it works. Nothing here may throw. */
export interface EngineEvents {
  /** a scan or canary at one of its addresses has failed for reasons of the address */
  failed(engine: string): void
  /** the first of a row of failures to find any address that works */
  down(engine: string, error: Error): void
  /** something has worked again after `down` */
  up(engine: string, since: Date): void
  /** one of its addresses judges by other signatures, or has just said for the first time by which */
  signatures(engine: string): void
}

export interface Engine {
  readonly name: string
  readonly addresses: readonly AddressState[]
  /** Scans that its addresses in service take at a time, without `reservedPlaces`. */
  readonly places: number
  /** No address may serve; undefined while one may, or while nobody has tried. */
  readonly outage: Error | undefined
  /** Starts one scan of exactly `size` bytes, waiting for a free place; throws EngineUnavailableError when no byte can have reached the engine. */
  open(size: number, signal: AbortSignal): Promise<ScanStream>
  /** EICAR is found, a clean file is clean, and what the engine says it is; throws EngineUnavailableError with a plain reason. */
  probe(signal: AbortSignal): Promise<EngineInfo>
  /** of the last good probe or look */
  readonly info: EngineInfo | undefined
  /** Cuts what is running. */
  close(): Promise<void>
}

/** EICAR passed as clean, or a harmless text did not: whatever it says cannot be used. */
export class WrongAnswersError extends EngineUnavailableError {
  override name = 'WrongAnswersError'
}

/** Reason codes of UNSCANNABLE that an engine can give. */
export const reasons = {
  tooLarge: 101,
  tooManyFiles: 102,
  tooDeep: 103,
  encryptedArchive: 107,
  encryptedDocument: 108,
  encryptedPdf: 109,
  otherLimit: 199,
} as const

/** A stream for an object over our own limit: the engine is not asked at all, and may have never answered yet. */
export function tooLarge(engine: Engine, size: number, maxBytes: number): ScanStream {
  const finding: Finding = {
    status: 'unscannable',
    reason: reasons.tooLarge,
    detail: `${size} bytes, more than the limit of ${maxBytes}`,
  }
  const unknown: EngineInfo = {
    engineVersion: 'unknown',
    signatureVersion: 'none',
    signatureSet: 'custom',
  }
  return {
    by: { name: engine.name, info: engine.info ?? unknown },
    write: () => Promise.resolve(),
    end: () => Promise.resolve(finding),
    abort: () => undefined,
  }
}

/** Beyond `connections`: scans for those whom others would keep waiting (see Turns). */
export const reservedPlaces = 2

/** The canary that must stay clean. */
export const harmless = Buffer.from('bucket-av-scanner canary: this text is harmless\n')

/**
 * Passes when `scan` finds EICAR and leaves a harmless text alone. A daemon that loaded a wrong set
 * answers PING and calls everything clean; one that finds everything would have every object deleted.
 */
export async function runCanary(
  name: string,
  scan: (bytes: Buffer) => Promise<Finding>,
): Promise<void> {
  const bad = await scan(eicar())
  if (bad.status !== 'infected')
    throw new WrongAnswersError(
      `${name} calls the EICAR test file ${bad.status}: its signatures are missing or the wrong ones`,
    )
  const good = await scan(harmless)
  if (good.status !== 'clean')
    throw new WrongAnswersError(
      `${name} calls a harmless text ${describeFinding(good)}: its answers cannot be used`,
    )
}

function describeFinding(finding: Finding): string {
  if (finding.status === 'clean') return 'clean'
  return `${finding.status} (${finding.status === 'unscannable' ? finding.detail : finding.signature})`
}
