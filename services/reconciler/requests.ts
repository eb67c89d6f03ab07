// The reconcile lane: news of signatures and wishes for a sweep. A message is acknowledged when what it asks for is in the state.
import { randomUUID } from 'node:crypto'
import { addSweep, newSweep, type ReconcilerState, type StateFile } from './state.ts'
import type { Lane } from '../shared/consumer.ts'
import type { Log } from '../shared/log.ts'
import { decodeReconcileMessage, type SweepRequested } from '../shared/messages.ts'
import { proofVersion } from '../shared/proof.ts'
import { jobRetryDelaysMs, names } from '../shared/topology.ts'

export interface RequestDependencies {
  state: StateFile
  log: Log
  /** Objects younger than this are scanned again under new signatures; 0: none. */
  rescanWindowMs: number
  probe: () => Promise<unknown>
}

const remembered = 100

export function createRequestLane(deps: RequestDependencies): Lane {
  return {
    queue: names.reconcile,
    prefetch: 1,
    retryDelaysMs: jobRetryDelaysMs,
    handle: async ({ body }) => {
      const message = decodeReconcileMessage(body)
      if (message.type === 'sweep.requested') await takeRequest(message, deps)
      else await takeSignatures(message.data.signatureVersion, deps)
    },
    probe: async () => {
      await deps.probe()
    },
  }
}

async function takeRequest({ data }: SweepRequested, { state, log }: RequestDependencies) {
  const { id, reason } = data
  if (state.current.requests.includes(id)) return
  const since = data.since === undefined ? {} : { since: new Date(data.since).toISOString() }
  const after = data.after === undefined ? {} : { after: new Date(data.after).toISOString() }
  await state.change((draft) => {
    draft.requests = [...draft.requests, id].slice(-remembered)
    // Nobody watches one that the store's audit log has led to, and several of them are one.
    addSweep(draft, newSweep({ id, reason, asked: data.after === undefined, ...since, ...after }))
  })
  log.info('a sweep is asked for', { id, reason, since: data.since, after: data.after })
}

async function takeSignatures(said: string, deps: RequestDependencies): Promise<void> {
  const { state, log, rescanWindowMs } = deps
  const version = proofVersion(said)
  if (!isNews(state.current, version)) return
  const isFirst = state.current.signatures.length === 0
  await state.change((draft) => {
    draft.signatures = [...draft.signatures, version].slice(-2)
    if (isFirst || rescanWindowMs === 0) return
    addSweep(
      draft,
      newSweep({
        id: randomUUID(),
        kind: 'rescan',
        reason: `signatures ${version}`,
        signatureVersion: version,
        since: new Date(Date.now() - rescanWindowMs).toISOString(),
      }),
    )
  })
  log.info('signatures changed', { signatureVersion: version })
}

/**
 * Whether the signatures are others than those heard of before. While workers change over one by one they say old and new in
 * turns: numbers only go up, and other words must differ from the last two.
 */
export function isNews(state: Pick<ReconcilerState, 'signatures'>, version: string): boolean {
  const last = state.signatures.at(-1)
  if (last === undefined) return true
  if (isNumber(last) && isNumber(version)) return Number(version) > Number(last)
  return !state.signatures.includes(version)
}

function isNumber(version: string): boolean {
  return /^\d+$/.test(version)
}
