// One message of a scan lane, in crash-safe order: decode, find the versions, judge, mark, publish verdict and action; the consumer
// acks last. A kill between any two steps repeats, and the ids make the repetition recognisable.
import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import type { Alike } from './alike.ts'
import { publishVerdict, requestDelete, type Outbox } from './outbox.ts'
import { judge } from './download.ts'
import type { Engine, EngineInfo, Finding } from './engines/engine.ts'
import type { Containers } from './formats/containers.ts'
import type { InProgress } from './in-progress.ts'
import { markCurrent } from './mark-current.ts'
import type { Marks } from './marks.ts'
import { isUnfinished, otherReason, stands, type Marked, type Proven } from '../shared/proven.ts'
import type { Metrics } from './metrics.ts'
import { conclude, tooLarge, unreadable, type Conclusion, type PolicyOptions } from './policy.ts'
import type { Budget, Gate, ScanFolder } from './scan-folder.ts'
import type { Claim, Turns } from './turns.ts'
import { passUnscanned, type Passing } from './unscanned.ts'
import {
  findVersions,
  headCurrent,
  ignoreGone,
  isTold,
  openCurrent,
  type Found,
} from './versions.ts'
import {
  describeError,
  GiveWayError,
  ObjectChangedError,
  ObjectGoneError,
  OutageError,
  RetryLaterError,
  UnreadableError,
} from '../shared/errors.ts'
import { reached } from '../shared/fault.ts'
import { goneTwice } from '../shared/gone-twice.ts'
import type { Log } from '../shared/log.ts'
import {
  decodeEvents,
  decodeJobs,
  type EngineReport,
  type ObjectRef,
  type ScanJob,
  type TriggerKind,
  type VerdictMessage,
} from '../shared/messages.ts'
import type { ObjectFacts, ObjectStore, OpenObject } from '../shared/object-store.ts'
import { contentOf, judgedTime, proofVersion } from '../shared/proof.ts'

export interface ScanDependencies {
  store: ObjectStore
  engines: readonly Engine[]
  containers: Pick<Containers, 'inspect'>
  folder: ScanFolder
  gate: Gate
  inProgress: InProgress
  turns: Turns
  marks: Marks
  outbox: Outbox
  metrics: Metrics
  log: Log
  buckets: readonly string[]
  alike: Alike<Found[]>
  maxObjectBytes: number
  policy: PolicyOptions
  passing?: Passing
}

export interface ScanMessage {
  body: Buffer
  attempt: number
  deliveries: number
  /** Somebody has worked on it before. */
  again: boolean
  /** It came from where only the store may publish. */
  fromStore: boolean
  signal: AbortSignal
  /** Told to whoever reports the message: the object in work. */
  about?: string
}

type Judged = Conclusion & { scan?: VerdictMessage['data']['scan'] }

/** From this delivery or attempt on an object is scanned while nothing else is. */
const aloneFromDelivery = 5
const aloneFromAttempt = 3
/** Engines take new signatures one after the other. */
const signatureWaitMs = 60_000

/** Handles one message of a scan lane; returns when everything it led to is confirmed. */
export async function scanMessage(
  message: ScanMessage,
  deps: ScanDependencies,
  lane: Claim['lane'] = 'live',
): Promise<void> {
  const { again } = message
  let busy: RetryLaterError | undefined
  for (const job of jobsOf(message)) {
    message.about = `${job.object.bucket}/${job.object.key}`
    await deps.alike.run(job.object, lane, async () => {
      for (const object of await findVersions(job, again, deps)) {
        if (isTold(job, object, deps)) continue
        try {
          await scanVersion(object, job, message, lane, again, deps)
        } catch (error) {
          if (!(error instanceof RetryLaterError) || error.counted) throw error
          // The others of the message need not wait for what somebody else has in hand.
          busy = error
        }
      }
    })
  }
  if (busy !== undefined) throw busy
}

/** The last words about a message that is given up: tag `no` (never over a proven verdict) and `verdict.failed`. */
export async function giveUpMessage(
  message: ScanMessage,
  failure: Error,
  deps: ScanDependencies,
): Promise<void> {
  for (const job of jobsOf(message)) {
    for (const object of await findVersions(job, true, deps)) {
      if (isTold(job, object, deps)) continue
      const facts = await lastFacts(object, deps).catch(ignoreGone)
      if (facts === undefined) continue
      const marked = { bucket: object.bucket, key: object.key, facts }
      const report = { attempt: message.attempt, trigger: job.trigger }
      await markFailed(marked, job, deps).catch((error: unknown) => {
        if (error instanceof OutageError) throw error
        // What cannot be tagged is told all the same.
        deps.log.error('tag what is given up', { ...object, error })
      })
      await publishVerdict(deps.outbox, marked, {
        ...report,
        outcome: 'FAILED',
        reasons: [otherReason],
        detail: describeError(failure),
      })
    }
  }
}

/** What is known of it, by whichever question the store still answers. */
async function lastFacts(object: ObjectRef, { store }: ScanDependencies): Promise<ObjectFacts> {
  try {
    return await goneTwice(() => store.head(object))
  } catch (error) {
    const isAnswer = error instanceof ObjectGoneError || error instanceof ObjectChangedError
    if (isAnswer || error instanceof OutageError) throw error
    return store.listed(object)
  }
}

async function markFailed(marked: Marked, { trigger }: ScanJob, { marks }: ScanDependencies) {
  const { facts } = marked
  if (stands(await marks.proven(marked), trigger)) return
  const detail = { at: now(), reason: 'failed', signature: '', engine: '' }
  const mark = {
    tag: 'no',
    reason: otherReason,
    signatureVersion: 'none',
    // A listing does not say when it was made.
    judgedAt: judgedTime(facts.servedAt ?? facts.lastModified),
    write: trigger,
    content: '',
    detail,
  } as const
  // Judged by somebody in this very moment: that is better than no verdict.
  await marks.write(marked, mark).catch((error: unknown) => {
    if (!(error instanceof RetryLaterError)) throw error
  })
}

/** A job in our own words, forged by whoever may speak as the store, could keep a verdict from being told. */
function jobsOf({ body, fromStore }: ScanMessage): ScanJob[] {
  return fromStore ? decodeEvents(body) : decodeJobs(body)
}

async function scanVersion(
  object: ObjectRef,
  job: ScanJob,
  message: ScanMessage,
  lane: Claim['lane'],
  again: boolean,
  deps: ScanDependencies,
): Promise<void> {
  const { metrics, log } = deps
  const where = { bucket: object.bucket, key: object.key, versionId: object.versionId }
  const { kind } = job.trigger
  // A redelivered or retried job does the work again: a proof says that the bytes were judged, not that the verdict was told.
  const mayBeDone = !again && kind !== 'manual'
  if (mayBeDone && kind !== 'event' && (await hasVerdict(object, job, deps))) {
    metrics.dropped.inc({ why: 'proven' })
    return
  }
  if (await passUnscanned(object, job, message.attempt, deps)) return
  const claim = { lane, uploader: job.uploader }
  deps.turns.check(claim)
  const startedAt = new Date()
  let opened: OpenObject
  let refusal: Finding | undefined
  try {
    ;({ opened, refusal } = await openOrRefuse(object, claim, message.signal, deps))
  } catch (error) {
    if (!(error instanceof ObjectGoneError)) throw error
    metrics.dropped.inc({ why: 'gone' })
    log.info('object is gone', where)
    return
  }
  const marked: Marked = { bucket: object.bucket, key: object.key, facts: factsOf(opened) }
  try {
    // MinIO takes `evil/` with a body: only an empty one is a folder.
    if (object.key.endsWith('/') && opened.size === 0) {
      metrics.dropped.inc({ why: 'folder' })
      return
    }
    // Judged through the spool lane or a sweep while its event waited, or an event that came twice.
    if (mayBeDone && kind === 'event' && opened.tagCount > 0 && (await isDone(marked, job, deps))) {
      metrics.dropped.inc({ why: 'proven' })
      return
    }
    const isFirst = !again && kind === 'event' && lane === 'live'
    const alone = message.deliveries >= aloneFromDelivery || message.attempt >= aloneFromAttempt
    const judged = refusal
      ? refuse(refusal, deps)
      : await deps.inProgress.run(marked, isFirst, () =>
          deps.gate.run(alone, () =>
            examine(opened, object.key, startedAt, kind, claim, message.signal, deps),
          ),
        )
    message.signal.throwIfAborted()
    const judgedBy = proofVersion(judged.scan?.signatureVersion ?? '')
    if (kind === 'rescan' && isOlder(judgedBy, job.trigger.id ?? '') && judged.verdict === 'CLEAN')
      throw new RetryLaterError(
        `the engine still has signatures ${judgedBy}, wanted ${job.trigger.id}`,
        { delayMs: signatureWaitMs },
      )

    try {
      await goneTwice(
        () =>
          markCurrent(
            marked,
            {
              tag: judged.tag,
              reason: judged.reasons[0] ?? 0,
              signatureVersion: judged.scan?.signatureVersion ?? 'none',
              judgedAt: judgedTime(opened.servedAt),
              write: job.trigger,
              content: judged.scan === undefined ? '' : contentOf(judged.scan.sha256),
              detail: {
                at: now(),
                reason: judged.reasons.join(' '),
                signature: judged.threats.join(' '),
                engine:
                  judged.scan?.engines
                    .map((engine) => `${engine.name} ${engine.engineVersion}`)
                    .join(' ') ?? '',
              },
            },
            deps,
          ),
        message.signal,
      )
    } catch (error) {
      if (!(error instanceof ObjectGoneError)) throw error
      // Deleted meanwhile. What was found in it is still worth telling.
      log.info('object is gone before it could be tagged', where)
      if (judged.verdict !== 'INFECTED') {
        metrics.dropped.inc({ why: 'gone' })
        return
      }
    }
    reached(kind, 'tagged')
    // Under new signatures the same verdict is no news, and its action is another job's.
    if (kind !== 'rescan' || object.previous !== judged.tag) {
      const verdictId = await publishVerdict(deps.outbox, marked, {
        outcome: judged.verdict,
        threats: judged.threats,
        reasons: judged.reasons,
        detail: judged.detail,
        previous: kind === 'rescan' ? object.previous : undefined,
        scan: judged.scan,
        action: judged.action,
        attempt: message.attempt,
        trigger: job.trigger,
      })
      if (judged.action === 'delete')
        await requestDelete(deps, marked, verdictId, judged.threats[0] ?? '')
      deps.alike.note(object, 'told')
    }
    reached(kind, 'published')
    metrics.objects.inc({ verdict: judged.verdict })
    for (const reason of judged.reasons)
      metrics.unscannable.inc({ reason: String(reason), format: judged.formats.get(reason) ?? '' })
    metrics.age.observe(Math.max(0, (Date.now() - opened.lastModified.getTime()) / 1000))
    log.info('object scanned', {
      ...where,
      verdict: judged.verdict,
      signature: judged.threats[0],
      reasons: judged.reasons.length > 0 ? judged.reasons : undefined,
      detail: judged.detail,
      action: judged.action,
      size: opened.size,
      durationMs: Date.now() - startedAt.getTime(),
    })
  } finally {
    // Nobody reads it when another scan of the object is in progress, for one: its connection would stay taken.
    opened.body.destroy()
    if (refusal === undefined) deps.folder.budget.release(opened.size)
  }
}

/** Opens the version, or says why nobody can look into it; what was refused has no room reserved. */
async function openOrRefuse(
  object: ObjectRef,
  claim: Claim,
  signal: AbortSignal,
  deps: ScanDependencies,
): Promise<{ opened: OpenObject; refusal?: Finding }> {
  try {
    const opened = await openWithinBudget(object, claim, signal, deps)
    if (opened.size <= deps.maxObjectBytes) return { opened }
    const detail = `${opened.size} bytes are more than the limit of ${deps.maxObjectBytes}`
    return { opened, refusal: { status: 'unscannable', reason: tooLarge, detail } }
  } catch (error) {
    if (!(error instanceof UnreadableError)) throw error
    const facts = await headCurrent(deps.store, object, signal)
    const detail = `the store does not give its bytes: ${error.message}`
    const refusal: Finding = { status: 'unscannable', reason: unreadable, detail }
    return { opened: { ...facts, body: Readable.from([]) }, refusal }
  }
}

/** Opens the version with room for its Content-Length reserved; nothing of its body has been read. */
async function openWithinBudget(
  object: ObjectRef,
  { lane }: Claim,
  signal: AbortSignal,
  deps: ScanDependencies,
): Promise<OpenObject> {
  const { budget } = deps.folder
  let opened = await openCurrent(deps.store, object, signal)
  if (opened.size > deps.maxObjectBytes || budget.tryReserve(opened.size)) return opened
  // An open download would time out while it waits for its turn.
  const { size } = opened
  opened.body.destroy()
  if (lane === 'bulk') await budget.reserve(size, signal)
  else await reserveSoon(budget, size, signal)
  try {
    opened = await openCurrent(deps.store, object, signal)
    if (opened.size !== size)
      throw new ObjectChangedError(`${object.bucket}/${object.key} has another size now`)
    return opened
  } catch (error) {
    budget.release(size)
    throw error
  }
}

/** @throws GiveWayError when it would wait long, and keep others in the queue from being seen. */
async function reserveSoon(budget: Budget, size: number, signal: AbortSignal): Promise<void> {
  const late = AbortSignal.timeout(1000)
  try {
    await budget.reserve(size, AbortSignal.any([signal, late]))
  } catch (error) {
    if (!late.aborted || signal.aborted) throw error
    throw new GiveWayError('there is no room beside other large objects: it goes to the bulk lane')
  }
}

async function examine(
  opened: OpenObject,
  key: string,
  startedAt: Date,
  kind: TriggerKind,
  claim: Claim,
  signal: AbortSignal,
  deps: ScanDependencies,
): Promise<Judged> {
  const { containers, engines, folder, metrics, policy } = deps
  await folder.checkRoom(opened.size)
  const { sha256, bytes, findings, unseen } = await judge(
    opened,
    engines,
    folder.path,
    signal,
    (step) => reached(kind, step),
    (source, by, signal) => containers.inspect(source, key, by, signal, opened.contentEncoding),
    (signal) => deps.turns.take(claim, signal),
  )
  const conclusion = conclude([...findings.map(({ finding }) => finding), ...unseen], policy)
  const durationMs = Date.now() - startedAt.getTime()
  metrics.duration.observe(durationMs / 1000)
  metrics.bytes.inc(bytes)
  const infos = findings.map(({ by }) => by.info)
  return {
    ...conclusion,
    scan: {
      id: randomUUID(),
      engines: findings.map(({ by, finding }): EngineReport => ({
        name: by.name,
        engineVersion: by.info.engineVersion,
        signatureVersion: by.info.signatureVersion,
        status: finding.status,
        ...('signature' in finding ? { signature: finding.signature } : {}),
      })),
      signatureVersion: infos.map((info) => info.signatureVersion).join('+'),
      signatureSet: infos.some((info) => info.signatureSet === 'test')
        ? 'test'
        : (infos[0]?.signatureSet ?? 'custom'),
      startedAt: startedAt.toISOString(),
      durationMs,
      bytes,
      sha256,
      complete: conclusion.verdict !== 'UNSCANNABLE',
    },
  }
}

/** Not a byte is read, and nothing is deleted for it. */
function refuse(refusal: Finding, { policy }: ScanDependencies): Judged {
  return conclude([refusal], policy)
}

/** A verify, sweep or re-scan job asks before it opens the object. */
async function hasVerdict(
  object: ObjectRef,
  job: ScanJob,
  deps: ScanDependencies,
): Promise<boolean> {
  const facts = await deps.store.head(object).catch(ignoreGone)
  // Whether it is gone the GET tells.
  return facts !== undefined && isDone({ bucket: object.bucket, key: object.key, facts }, job, deps)
}

/** Whether a proven verdict of this very version, as it is since the job's event, makes the job needless. */
async function isDone(marked: Marked, job: ScanJob, deps: ScanDependencies): Promise<boolean> {
  const { kind, after } = job.trigger
  // An event that does not say when it happened may be about bytes that came after the proof.
  if (kind === 'event' && after === undefined) return false
  const proven = await deps.marks.proven(marked)
  if (!stands(proven, job.trigger) || isWorthAnotherTry(proven, job, deps)) return false
  if (proven.tag !== 'infected' || !deps.policy.delete) return true
  // It would be gone already. Deleted without its verdict told again, the job that has not told it yet would find nothing.
  // Held by the store it cannot be: that has been told, and a sweep after its retention has ended deletes it.
  return marked.facts.held === true
}

function isWorthAnotherTry(proven: Proven, { trigger }: ScanJob, deps: ScanDependencies): boolean {
  if (trigger.kind === 'sweep') return isUnfinished(proven)
  if (trigger.kind !== 'rescan') return false
  // What the engines say they are may be as old as their last scan: the job says which signatures it is about.
  const known = deps.engines.map((engine) => engineInfo(engine).signatureVersion).join('+')
  const wanted = trigger.id ?? proofVersion(known)
  return proven.signatureVersion !== wanted && !isOlder(wanted, proven.signatureVersion)
}

/** Only official sets have numbers; of others nobody knows which is the older one. */
function isOlder(version: string, than: string): boolean {
  return /^\d+$/.test(version) && /^\d+$/.test(than) && Number(version) < Number(than)
}

function engineInfo(engine: Engine): EngineInfo {
  if (engine.info === undefined) throw new Error(`${engine.name} answered before its canary passed`)
  return engine.info
}

function factsOf(opened: OpenObject): Marked['facts'] {
  const { size, etag, versionId, lastModified, tagCount, servedAt } = opened
  return { size, etag, versionId, lastModified, tagCount, servedAt }
}

function now(): string {
  return new Date().toISOString()
}
