// What an object without, or with an unfinished, verdict needs. Pure; the worker asks the same again before it scans.
import { isUnfinished, type Proven } from '../shared/proven.ts'

/** `proven`: nothing is to be done. */
export type Need = 'unproven' | 'unfinished' | 'undeleted' | 'proven'

/**
 * unproven: no verdict that only we can have written; undeleted: proven infected and still there although infected versions
 * are deleted; unfinished: passed on unscanned, or given up.
 */
export function needOf(proven: Proven | undefined, options: { deletes: boolean }): Need {
  if (proven === undefined) return 'unproven'
  if (proven.tag === 'infected') return options.deletes ? 'undeleted' : 'proven'
  return isUnfinished(proven) ? 'unfinished' : 'proven'
}

/** MinIO takes `evil/` with a body: only an empty one is a folder. */
export function isFolder(key: string, size: number): boolean {
  return key.endsWith('/') && size === 0
}
