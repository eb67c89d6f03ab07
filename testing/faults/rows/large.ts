// Objects of a gigabyte, beside a small stream: judged to their last byte, in a worker that stays small.
import { readFileSync } from 'node:fs'
import { samples } from '../../support/samples.ts'
import type { FaultContext, Row } from '../types.ts'

const gigabyte = 1_000_000_000
const mostWorkerMb = 256

/** The most that a process has ever had in memory. */
function peakMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024)
}

function checkMemory({ parts, say }: FaultContext): void {
  const peaks = parts.workers().map((name) => peakMb(parts.pid(name)))
  say(`at most ${peaks.join(' and ')} MB of memory in the workers`)
  const worst = Math.max(...peaks)
  if (!(worst <= mostWorkerMb))
    throw new Error(`a worker took ${worst} MB, more than ${mostWorkerMb} MB`)
}

export const largeRows: readonly Row[] = [
  {
    name: 'gigabyte',
    title: 'two objects of 1 GB, EICAR at the very end of one',
    settings: { ENGINE_TIMEOUT_MS: '300000', ENGINE_STALL_MS: '30000' },
    objects: 100,
    rate: 5,
    async inject({ traffic }) {
      await traffic.put('large-clean.bin', samples.large(gigabyte), 'clean')
      await traffic.put('large-eicar.bin', samples.large(gigabyte, samples.eicar()), 'infected')
    },
    after: async (context) => checkMemory(context),
    expectations: { quietMs: 240_000 },
  },
]
