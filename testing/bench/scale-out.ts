// Whether twice the workers scan twice as much when the engine is not what limits them.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../support/eventually.ts'
import type { Bench } from './bench.ts'
import { round } from './report.ts'

const allCounts = [1, 2, 4, 8, 16]
const least = 0.95

export async function scaleOut({
  mode,
  stage,
  corpora,
  sizes,
  folder,
  results,
  figure,
  target,
}: Bench) {
  const section = 'Scale-out: an engine that sleeps 50 ms per scan, one connection for each worker'
  const { files } = corpora.S
  const counts = mode === 'quick' ? allCounts.slice(0, -1) : allCounts
  const socket = join(folder, 'sleeping.sock')
  const program = join(import.meta.dirname, 'sleeping-engine.ts')
  const child = spawn(process.execPath, [program, socket], { stdio: 'inherit' })
  let atEight = Number.NaN
  let coresAtEight = Number.NaN
  try {
    await eventually(() => existsSync(socket))
    stage.engines.set(socket, child.pid ?? 0)
    for (const count of counts) {
      const some = Array.from(
        { length: count * sizes.sleeping },
        (_, index) => files[index % files.length] as Buffer,
      )
      const env = { ENGINE_CONNECTIONS: '1' }
      const { rate, cpu } = await stage.drain(some, { count, sockets: [socket], env })
      results.scaleOut.push({ workers: count, rate })
      const share = rate / ((results.scaleOut[0]?.rate ?? Number.NaN) * count)
      if (count === 8) {
        atEight = share
        coresAtEight = (rate * Object.values(cpu).reduce((sum, ms) => sum + ms, 0)) / 1000
      }
      const each = Object.entries(cpu).map(([part, ms]) => `${part} ${round(ms, 2)}`)
      figure(
        section,
        `${count} workers`,
        `${round(rate, 1)} objects/s (${round(100 * share)} % of linear); CPU ms each: ${each.join(', ')}`,
      )
    }
  } finally {
    child.kill()
  }
  target(
    'scale-out, sleeping engine',
    `${round(atEight, 2)} linear at 8 workers`,
    `≥ ${least} linear to 8`,
    atEight >= least,
    `the engine takes no CPU, but all the rest took ${round(coresAtEight, 2)} of ${cpus().length} cores at 8 workers`,
  )
}
