// What must outlive the receiver, in a file of its own: a sweep that nobody has been asked for yet, and how long the backlog is.
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { describeError, errorCode, FatalError } from '../shared/errors.ts'

export interface PendingSweep {
  after: string
  reason: string
}

export interface AuditState {
  /** Batches taken since the log was last known to be up to date. */
  backlog: number
  pending?: PendingSweep | undefined
}

const hint = 'STORE_AUDIT_FOLDER names a folder that this service may write'

/** `found` is false at the first start, and after the log was switched off: then nothing is known about the time before. */
export function openState(file: string) {
  let found = true
  let current: AuditState = { backlog: 0 }
  try {
    const { backlog, pending } = JSON.parse(readFileSync(file, 'utf8')) as AuditState
    if (!Number.isInteger(backlog)) throw new SyntaxError(`${file} holds no number of batches`)
    current = { backlog, pending }
  } catch (error) {
    // One that cannot be read says as little as none.
    if (errorCode(error) !== 'ENOENT' && !(error instanceof SyntaxError))
      throw new FatalError(`read ${file}: ${describeError(error)}`, hint, { cause: error })
    found = false
  }
  return {
    found,
    get current(): Readonly<AuditState> {
      return current
    },
    /** On disk when it returns. */
    change(changes: Partial<AuditState>): void {
      current = { ...current, ...changes }
      const temporary = `${file}.new`
      try {
        mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
        const descriptor = openSync(temporary, 'w', 0o600)
        try {
          writeSync(descriptor, `${JSON.stringify(current)}\n`)
          fsyncSync(descriptor)
        } finally {
          closeSync(descriptor)
        }
        renameSync(temporary, file)
      } catch (error) {
        throw new FatalError(`write ${file}: ${describeError(error)}`, hint, { cause: error })
      }
    },
  }
}

export type StateFile = ReturnType<typeof openState>

/** After this a start counts as the first one. */
export function forgetState(file: string): void {
  rmSync(file, { force: true })
}
