// kill -9 of a worker at each of its steps, several times each, by the hook in services/shared/fault.ts.
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { eventually } from '../../support/eventually.ts'
import type { FaultContext, Row } from '../types.ts'
import { forget, requestJobs, stopWorkers, wakeWorkers } from './steps.ts'

/** Lays the trap and waits until a worker has died in it. */
export async function killAt(step: string, { faultFile }: Pick<FaultContext, 'faultFile'>) {
  writeFileSync(`${faultFile}.new`, step)
  renameSync(`${faultFile}.new`, faultFile)
  await eventually(() => !existsSync(faultFile), { timeoutMs: 60_000, everyMs: 10 })
}

const rounds = ({ short }: FaultContext) => (short ? 2 : 4)

const liveKills = (
  [
    ['event:download', 'in the middle of a download'],
    ['event:scan', 'while the engine scans'],
    ['event:tagged', 'between tag and publish'],
    ['event:published', 'between publish and ack'],
    ['action:deleting', 'before a deletion'],
    ['action:deleted', 'after a deletion'],
  ] as const
).map(([step, when]): Row => ({
  name: `worker-${step.replace(':', '-')}`,
  title: `kill -9 of a worker ${when}`,
  short: true,
  inject: async (context) => {
    for (let round = 0; round < rounds(context); round++) {
      await context.traffic.until((round + 1) / (rounds(context) + 2))
      await killAt(step, context)
    }
  },
}))

const laterKills = (
  [
    ['verify', 'a verify job'],
    ['sweep', 'a sweep job'],
  ] as const
).map(([kind, what]): Row => ({
  name: `worker-${kind}`,
  title: `kill -9 of a worker at each step of ${what}`,
  short: kind === 'verify',
  before: stopWorkers,
  inject: async (context) => {
    await context.traffic.done()
    context.say(`${await forget(context)} events forgotten`)
    await requestJobs(kind, context)
    wakeWorkers(context)
    for (let round = 0; round < rounds(context) / 2; round++)
      for (const step of ['download', 'scan', 'tagged', 'published'])
        await killAt(`${kind}:${step}`, context)
  },
}))

export const workerKills: readonly Row[] = [...liveKills, ...laterKills]
