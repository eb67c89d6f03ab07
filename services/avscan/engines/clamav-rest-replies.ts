// What clamav-rest's answers mean. It reports a lost clamd as 413, a silent one as 200 with `[]`, and several parts as
// several elements, so only the one answer that fits our one part exactly is a finding.
import * as z from 'zod'
import { EngineUnavailableError } from '../../shared/errors.ts'
import type { Finding } from './engine.ts'
import { findingOf } from './heuristics.ts'

/** The name our part is sent under, and must come back under. */
export const partName = 'object'

/** This scan came to nothing; another attempt may. */
export class ClamavRestError extends Error {
  override name = 'ClamavRestError'
}

const answer = z.tuple([
  z.object({ Status: z.string(), Description: z.string(), FileName: z.literal(partName) }),
])

const version = z.object({
  Clamav: z.string(),
  Signature: z.string().optional(),
  Signature_date: z.string().optional(),
})

export function findingInAnswer(status: number, body: string): Finding {
  const one = answer.safeParse(jsonOf(body)).data?.[0]
  if (status === 200 && one?.Status === 'OK') return { status: 'clean' }
  if (status === 406 && one?.Status === 'FOUND' && one.Description !== '')
    return findingOf(one.Description)
  if (status === 413)
    throw new ClamavRestError(
      'clamav-rest answered 413: it lost its clamd, or its MAX_FILE_SIZE is lower than our limit',
    )
  if (status >= 300 && status < 400)
    throw new ClamavRestError(
      `clamav-rest answered with a redirect (${status}): is this its own address?`,
    )
  throw new ClamavRestError(`clamav-rest answered ${status} ${JSON.stringify(body.slice(0, 200))}`)
}

/** GET /version, in the words of clamd's own VERSION. */
export function versionInAnswer(status: number, body: string): string {
  const { data } = version.safeParse(jsonOf(body))
  if (status !== 200 || !data)
    throw new EngineUnavailableError(
      `clamav-rest does not say its version, so it has no clamd: ${status} ${JSON.stringify(body.slice(0, 200))}`,
    )
  if (data.Signature === undefined || data.Signature_date === undefined)
    return `ClamAV ${data.Clamav}`
  return `ClamAV ${data.Clamav}/${data.Signature}/${data.Signature_date}`
}

function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
