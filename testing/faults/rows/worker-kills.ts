// kill -9 of a worker at each of its steps, several times each, by the hook in services/shared/fault.ts.
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { eventually } from '../../support/eventually.ts'
import type { FaultContext, Row } from '../types.ts'

/** Lays the trap and waits until a worker has died in it. */
export async function killAt(step: string, { faultFile }: Pick<FaultContext, 'faultFile'>) {
  writeFileSync(`${faultFile}.new`, step)
  renameSync(`${faultFile}.new`, faultFile)
  await eventually(() => !existsSync(faultFile), { timeoutMs: 60_000, everyMs: 10 })
}

const rounds = 4

export const workerKills: readonly Row[] = (
  [
    ['event:download', 'in the middle of a download'],
    ['event:scan', 'while the engine scans'],
    ['event:tagged', 'between tag and publish'],
    ['event:published', 'between publish and ack'],
    ['action:deleting', 'before the deletion'],
    ['action:deleted', 'after the deletion'],
  ] as const
).map(([step, when]): Row => ({
  name: `worker-${step.replace(':', '-')}`,
  title: `kill -9 of a worker ${when}, ${rounds} times`,
  short: true,
  inject: async (context) => {
    for (let round = 0; round < rounds; round++) {
      await context.traffic.until((round + 1) / (rounds + 2))
      await killAt(step, context)
    }
  },
}))
