// What an object without, or with an unfinished, verdict needs. Pure; the worker asks the same again before it scans.
import { isUnfinished, stands, type Proven, type Write } from '../shared/proven.ts'

/** `proven`: nothing is to be done. */
export type Need = 'unproven' | 'unfinished' | 'undeleted' | 'proven'

/**
 * unproven: no verdict that only we can have written, or only one from before `write`; undeleted: proven infected and still there although infected versions
 * are deleted; unfinished: passed on unscanned, or given up.
 */
export function needOf(
  proven: Proven | undefined,
  options: { deletes: boolean; write?: Write },
): Need {
  if (!stands(proven, options.write ?? {})) return 'unproven'
  if (proven.tag === 'infected') return options.deletes ? 'undeleted' : 'proven'
  return isUnfinished(proven) ? 'unfinished' : 'proven'
}

/** MinIO takes `evil/` with a body: only an empty one is a folder. */
export function isFolder(key: string, size: number): boolean {
  return key.endsWith('/') && size === 0
}
