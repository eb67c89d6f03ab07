// The reconciler's part of `make status`: do events flow, and how far is the comparison of buckets and verdicts.
import { isRecord } from './ready-facts.ts'

/** `facts`: what its /readyz says; undefined when it does not answer. */
export function renderReconciler(facts: Readonly<Record<string, unknown>> | undefined): string[] {
  if (facts === undefined) return ['reconciler', '  unknown: it does not answer']
  const { canary, events, sweep, sweeps } = facts
  const waiting = Array.isArray(sweeps)
    ? sweeps.filter((one) => isRecord(one) && one['startedAt'] === undefined).length
    : 0
  return [
    'reconciler',
    ...(isRecord(events) ? [`  events: ${eventsText(events)}`] : []),
    ...(isRecord(canary) ? [`  canary through everything: ${canaryText(canary)}`] : []),
    `  sweep: ${isRecord(sweep) ? sweepText(sweep) : 'none yet'}${waiting > 0 ? `; ${waiting} more wait` : ''}`,
  ]
}

function eventsText({ coveredUntil, gap }: Record<string, unknown>): string {
  const reasons = Array.isArray(gap) ? gap.map(String) : []
  return reasons.length === 0
    ? `none is missing up to ${word(coveredUntil)}`
    : `some may be missing since ${word(coveredUntil)} (${reasons.join(', ')}); a sweep follows`
}

function canaryText({ state, seconds, why }: Record<string, unknown>): string {
  const took = typeof seconds === 'number' ? `, ${seconds.toFixed(1)} s` : ''
  return `${word(state)}${took}${typeof why === 'string' ? `: ${why}` : ''}`
}

function sweepText(sweep: Record<string, unknown>): string {
  const { running, paused, reason, seen, total, queued, rate, finishedAt } = sweep
  const count = typeof seen === 'number' ? seen : 0
  const isCounted = running === true && typeof total === 'number' && total >= count
  const speed = typeof rate === 'number' && rate > 0 ? rate : undefined
  const words = [
    `${running === true ? 'runs' : `ended ${word(finishedAt)}`} (${word(reason)})`,
    `${number(count)}${isCounted ? ` of about ${number(total)}` : ''} objects seen`,
    `${number(typeof queued === 'number' ? queued : 0)} queued`,
  ]
  if (running === true && speed !== undefined) words.push(`${speed}/s`)
  if (isCounted && speed !== undefined)
    words.push(`some ${Math.ceil((total - count) / speed)} s left`)
  if (typeof paused === 'string') words.push(`paused: ${paused}`)
  return words.join(', ')
}

const number = (value: number) => value.toLocaleString('en')
const word = (value: unknown) => (typeof value === 'string' ? value : 'unknown')
