// A hook of the fault suite (testing/faults): AVSCAN_FAULT_FILE names a file; when it holds the step that is just reached
// (`event:tagged`), the file is removed and this process dies as by kill -9. Without the variable it does nothing.
import { readFileSync, unlinkSync } from 'node:fs'

/**
 * download: bytes have come, not all; scan: all bytes are with the engine; tagged: before the verdict is published;
 * published: before the message is acknowledged; deleting, deleted: before and after the deletion.
 */
export type FaultStep = 'download' | 'scan' | 'tagged' | 'published' | 'deleting' | 'deleted'

const file = process.env['AVSCAN_FAULT_FILE'] ?? ''

/** `kind`: the trigger of a scan job, or `action`. */
export function reached(kind: string, step: FaultStep): void {
  if (file === '') return
  try {
    if (readFileSync(file, 'utf8').trim() !== `${kind}:${step}`) return
    // One process only: the other one finds no file.
    unlinkSync(file)
  } catch {
    return
  }
  process.kill(process.pid, 'SIGKILL')
}
