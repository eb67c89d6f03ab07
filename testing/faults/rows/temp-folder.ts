// The folder of the objects in work is full.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { rewire, withEnvironment } from '../support/rewire.ts'
import { mountSmallVolume, noSmallVolume, type SmallVolume } from '../support/small-volume.ts'
import type { FaultContext, Row } from '../types.ts'

/** Room for the largest object of the stream, and not for all that are in work. */
const volumeBytes = 32 * 1024 * 1024
/** Room for the small ones: those with more than this are refused in the middle of writing. */
const leftBytes = 1024 * 1024 + 200_000

export const tempFolderRows: readonly Row[] = [
  {
    name: 'temp-full',
    title: 'the folder of the objects in work is full',
    needs: noSmallVolume,
    async inject(context) {
      const { deployment, parts } = context
      const path = join(deployment.runDir, 'small-scan')
      const volume = mountSmallVolume(path, volumeBytes)
      let left: string[]
      try {
        const env = { SCAN_FOLDER: path }
        const undo = await rewire(deployment.runDir, withEnvironment(['avscan-'], env))
        try {
          await fillUp(context, volume)
        } finally {
          volume.drain()
          await undo()
        }
        left = readdirSync(path)
      } finally {
        volume.remove()
      }
      if (left.length > 0) throw new Error(`left in the full folder: ${left.join(', ')}`)
      await Promise.all(parts.workers().map((name) => parts.ready(name)))
    },
  },
]

async function fillUp(context: FaultContext, volume: SmallVolume): Promise<void> {
  const { traffic } = context
  await traffic.until(0.2)
  volume.fill(leftBytes)
  await traffic.until(0.7)
  volume.fill(0)
  await pause(context.short ? 3000 : 15_000)
  if (!(await paused(context))) throw new Error('no worker has noticed')
  volume.drain()
  await traffic.done()
  await context.recovered()
}

/** Whether a worker says that it waits for room. */
async function paused({ parts }: FaultContext): Promise<boolean> {
  for (const name of parts.workers())
    if (/scan folder/.test((await parts.trouble(name)) ?? '')) return true
  return false
}
