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
export function isCandidate(version: ObjectVersion, sweep: Pick<Sweep, 'since'>): boolean {
  if (version.deleteMarker || isFolder(version.key, version.size)) return false
  // Some answers tell whole seconds only.
  return (
    sweep.since === undefined ||
    version.lastModified.getTime() >= Math.floor(Date.parse(sweep.since) / 1000) * 1000
  )
}

export function whyWanted(
  proven: Proven | undefined,
  sweep: Pick<Sweep, 'kind' | 'signatureVersion'>,
  options: { deletes: boolean },
): Why | undefined {
  if (sweep.kind === 'rescan')
    return isOfOtherSignatures(proven, sweep.signatureVersion ?? '') ? 'signatures' : undefined
  const need = needOf(proven, options)
  return need === 'proven' ? undefined : need
}

/** What has no proof is the business of events and of other sweeps. */
function isOfOtherSignatures(proven: Proven | undefined, wanted: string): boolean {
  if (proven === undefined || proven.signatureVersion === wanted) return false
  if (proven.tag === 'no' && proven.reason === tooLarge) return false
  const numbers = [proven.signatureVersion, wanted].every((one) => /^\d+$/.test(one))
  return !numbers || Number(proven.signatureVersion) < Number(wanted)
}
