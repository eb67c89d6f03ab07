// From the engines' findings to one verdict and one action. Pure; "not scanned" cannot come out as CLEAN:
// CLEAN needs at least one finding and nothing but clean ones.
import type { ActionType, Verdict } from '../shared/messages.ts'
import type { Finding } from './engines/engine.ts'

export interface Conclusion {
  verdict: Exclude<Verdict, 'SKIPPED'>
  threats: string[]
  /** Reason codes 100–110 and 199; empty for CLEAN, INFECTED and SUSPICIOUS. */
  reasons: number[]
  detail: string | undefined
  /** The container formats behind the reasons, by reason code. */
  formats: ReadonlyMap<number, string>
  /** Value of the verdict tag. */
  tag: 'clean' | 'infected' | 'no'
  action: ActionType
}

export interface PolicyOptions {
  tags: boolean
  delete: boolean
}

/** 101: larger than `limits.maxObjectBytes`; known before a byte is read. */
export const tooLarge = 101
/** 110: the store does not give its bytes to anybody without the uploader's key. */
export const unreadable = 110
const severalReasons = 100

/** @throws Error when there is no finding at all: nobody looked, so there is nothing to conclude. */
export function conclude(findings: readonly Finding[], options: PolicyOptions): Conclusion {
  if (findings.length === 0) throw new Error('no engine has judged the object')
  const infected = findings.flatMap((finding) =>
    finding.status === 'infected' ? [finding.signature] : [],
  )
  const suspicious = findings.flatMap((finding) =>
    finding.status === 'suspicious' ? [finding.signature] : [],
  )
  const unscannable = findings.filter((finding) => finding.status === 'unscannable')
  const label: ActionType = options.tags ? 'tag' : 'none'

  // The worst finding wins: one engine that found something is not outvoted.
  if (infected.length > 0)
    return {
      verdict: 'INFECTED',
      threats: infected,
      reasons: [],
      detail: undefined,
      formats: new Map(),
      tag: 'infected',
      action: options.delete ? 'delete' : label,
    }
  if (suspicious.length > 0)
    return {
      verdict: 'SUSPICIOUS',
      threats: suspicious,
      reasons: [],
      detail: undefined,
      formats: new Map(),
      tag: 'no',
      action: label,
    }
  if (unscannable.length > 0) {
    const codes = [...new Set(unscannable.map((finding) => finding.reason))]
    return {
      verdict: 'UNSCANNABLE',
      threats: [],
      reasons: codes.length > 1 ? [severalReasons, ...codes] : codes,
      detail: unscannable.map((finding) => finding.detail).join('; '),
      formats: new Map(
        unscannable.flatMap(({ reason, format }) =>
          format === undefined ? [] : [[reason, format] as const],
        ),
      ),
      tag: 'no',
      action: label,
    }
  }
  return {
    verdict: 'CLEAN',
    threats: [],
    reasons: [],
    detail: undefined,
    formats: new Map(),
    tag: 'clean',
    action: label,
  }
}
