// Workers that are asked to stop: one after the other under load, and twice in a row.
import { existsSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { eventually } from '../../support/eventually.ts'
import { samples } from '../../support/samples.ts'
import type { Row } from '../types.ts'

/** Longer than services/shared/lifecycle.ts thinks of. */
const sameWishMs = 1500

export const restartRows: readonly Row[] = [
  {
    name: 'rolling-restart',
    title: 'rolling restart of the workers under load',
    rate: 25,
    inject: async ({ parts, traffic }) => {
      await traffic.until(0.1)
      for (let round = 0; round < 2; round++)
        for (const worker of parts.workers()) await parts.killAndReturn(worker, 'SIGTERM')
    },
    expectations: { scansPerObject: 1.05 },
  },
  {
    name: 'second-sigterm',
    title: 'second SIGTERM to a worker that still scans',
    inject: async ({ parts, traffic }) => {
      for (const [index, worker] of parts.workers().entries()) {
        await traffic.until(0.2 + 0.3 * index)
        // With a hung engine the first signal would wait for its 30 s.
        parts.signal('engine', 'SIGSTOP')
        try {
          await traffic.put(`hung-${index}`, samples.clean(), 'clean')
          await eventually(async () => (await parts.metric(worker, 'avscan_lane_running')) > 0)
          const pid = parts.pid(worker)
          process.kill(pid, 'SIGTERM')
          await eventually(
            () => parts.newLines(worker, 'stop').some((line) => line.includes('SIGTERM')),
            { timeoutMs: 5000 },
          )
          // One that follows at once is taken for the same wish.
          await pause(sameWishMs)
          process.kill(pid, 'SIGTERM')
          await eventually(() => !existsSync(`/proc/${pid}`), { timeoutMs: 3000 })
        } finally {
          parts.signal('engine', 'SIGCONT')
        }
        await parts.ready(worker)
      }
    },
  },
]
