// engine.outage is `pass-unscanned` and no engine can be used: a new object is not kept waiting but marked `unscanned`, which
// is never `clean`, and told as SKIPPED. Not a byte of it is read and nothing is done to it. The sweep after the outage finds it.
import { markCurrent, type MarkDependencies } from './mark-current.ts'
import { publishVerdict } from './outbox.ts'
import type { Metrics } from './metrics.ts'
import { ignoreGone } from './versions.ts'
import { describeError, ObjectGoneError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import type { ObjectRef, ScanJob } from '../shared/messages.ts'
import { judgedTime } from '../shared/proof.ts'
import { otherReason, stands } from '../shared/proven.ts'

export interface Passing {
  /** Why objects are let pass at the moment; undefined: they are scanned. */
  why(): Error | undefined
  /** An object of that date was let pass. */
  passed(lastModified: Date): void
}

export interface PassDependencies extends MarkDependencies {
  metrics: Metrics
  log: Log
  maxObjectBytes: number
  policy: { tags: boolean }
  passing?: Passing
}

/** True: the job is done. False: it has to be scanned, now or when the engine is back. */
export async function passUnscanned(
  object: ObjectRef,
  job: ScanJob,
  attempt: number,
  deps: PassDependencies,
): Promise<boolean> {
  const { kind } = job.trigger
  const why = deps.passing?.why()
  // What nobody waits for can be scanned later; a re-scan's object has its verdict.
  if (why === undefined || kind === 'sweep' || kind === 'rescan') return false
  const { metrics, log, store, marks } = deps
  const facts = await store.head(object).catch(ignoreGone)
  // Folders and what is too large need no engine.
  if (facts === undefined || facts.size > deps.maxObjectBytes) return false
  if (object.key.endsWith('/') && facts.size === 0) return false
  const marked = { bucket: object.bucket, key: object.key, facts }
  const found = await marks.proven(marked)
  const proven = stands(found, job.trigger) ? found : undefined
  // A verdict is never replaced by none.
  if (proven !== undefined && proven.tag !== 'unscanned') return false

  const detail = { at: new Date().toISOString(), reason: 'unscanned', signature: '', engine: '' }
  const judgedAt = judgedTime(facts.servedAt)
  const verdict = { tag: 'unscanned', reason: otherReason, signatureVersion: 'none' } as const
  const mark = { ...verdict, judgedAt, write: job.trigger, content: '', detail }
  try {
    if (proven === undefined) await markCurrent(marked, mark, deps)
  } catch (error) {
    if (!(error instanceof ObjectGoneError)) throw error
    metrics.dropped.inc({ why: 'gone' })
    return true
  }
  await publishVerdict(deps.outbox, marked, {
    outcome: 'SKIPPED',
    reasons: [otherReason],
    detail: `not scanned, let pass as unscanned: ${describeError(why)}`,
    action: deps.policy.tags ? 'tag' : 'none',
    attempt,
    trigger: job.trigger,
  })
  deps.passing?.passed(facts.lastModified)
  metrics.objects.inc({ verdict: 'SKIPPED' })
  const where = { bucket: object.bucket, key: object.key, versionId: object.versionId }
  log.info('object passed unscanned', { ...where, size: facts.size })
  return true
}
