// Which versions a sweep wants, given what is proven about them. Pure.
import { isFolder, needOf, type Need } from './needs.ts'
import type { Sweep } from './state.ts'
import type { Proven } from '../shared/proven.ts'
import type { ObjectVersion } from '../shared/version-listing.ts'

/** Why a version gets a job. */
export type Why = Exclude<Need, 'proven'> | 'signatures' | 'unreadable'

/** Reason of a verdict that tells the size, and no signatures change that. */
const tooLarge = 101

/** Whether there is anything to ask about this version at all. */
export function isCandidate(
  version: ObjectVersion,
  { kind, since }: Pick<Sweep, 'kind' | 'since'>,
): boolean {
  if (version.deleteMarker || isFolder(version.key, version.size)) return false
  // An uploader can choose the date of an object; when it was judged only the proof tells.
  if (kind === 'rescan') return true
  // Some answers tell whole seconds only.
  return (
    since === undefined ||
    version.lastModified.getTime() >= Math.floor(Date.parse(since) / 1000) * 1000
  )
}

export function whyWanted(
  proven: Proven | undefined,
  sweep: Pick<Sweep, 'kind' | 'signatureVersion' | 'since' | 'after'>,
  options: { deletes: boolean },
): Why | undefined {
  if (sweep.kind === 'rescan') return isToRescan(proven, sweep) ? 'signatures' : undefined
  const write = sweep.after === undefined ? {} : { after: new Date(sweep.after) }
  const need = needOf(proven, { ...options, write })
  return need === 'proven' ? undefined : need
}

/** Judged first within the window, and by other signatures. What has no proof is the business of events and of other sweeps. */
function isToRescan(
  proven: Proven | undefined,
  { signatureVersion: wanted = '', since }: Pick<Sweep, 'signatureVersion' | 'since'>,
): boolean {
  if (proven === undefined || proven.signatureVersion === wanted) return false
  if (since !== undefined && proven.firstJudgedAt.getTime() < Date.parse(since)) return false
  if (proven.tag === 'no' && proven.reason === tooLarge) return false
  const numbers = [proven.signatureVersion, wanted].every((one) => /^\d+$/.test(one))
  return !numbers || Number(proven.signatureVersion) < Number(wanted)
}
