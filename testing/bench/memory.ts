// How much memory a worker takes: at full load for minutes, with eight large objects at once, and with a very large one.
import { setTimeout as pause } from 'node:timers/promises'
import { eventually } from '../support/eventually.ts'
import type { Bench } from './bench.ts'
import { median, round } from './report.ts'
import { memoryMb, resetPeak, type Stage } from './stage.ts'

const mostMb = 160
const uploadsAtATime = 8

export async function memory({ stage, corpora, clamd, sizes, figure, target }: Bench) {
  const section = 'Memory of a worker (RSS, 10^6 bytes)'
  await stage.workers({ count: 1, sockets: [clamd.socket] })
  const pid = stage.parts.pid('avscan-1')
  const seen = await atFullLoad(stage, corpora.S.files, pid, sizes.memorySeconds)
  const third = Math.floor(seen.length / 3)
  const [middle, last] = [median(seen.slice(third, 2 * third)), median(seen.slice(2 * third))]
  const most = Math.max(...seen)
  figure(
    section,
    `${sizes.memorySeconds} s at full load`,
    `at most ${round(most)} MB; median of the second third ${round(middle)}, of the last ${round(last)}`,
  )
  const peakOf = async (work: () => Promise<unknown>) => {
    resetPeak(pid)
    await work()
    await empty(stage)
    return memoryMb(pid).peak
  }
  const big = corpora.L.files[0] as Buffer
  const { uploader } = stage
  const several = await peakOf(() =>
    Promise.all(
      Array.from({ length: sizes.atOnce }, (_, index) => uploader.put(`memory/big-${index}`, big)),
    ),
  )
  figure(section, `${sizes.atOnce} objects of 100 MB at once`, `at most ${round(several)} MB`)
  const parts = Array.from({ length: sizes.parts }, () => big)
  const gigabyte = await peakOf(() => uploader.putMultipart('memory/gigabyte', parts))
  figure(section, `one object of ${sizes.parts / 10} GB`, `at most ${round(gigabyte)} MB`)
  const peak = Math.max(most, several, gigabyte)
  const isFlat = last <= middle * 1.05
  const measured = `${round(peak)} MB${isFlat ? '' : ', growing'}`
  target(
    'RSS of a worker, any of these',
    measured,
    `≤ ${mostMb} MB, flat`,
    peak <= mostMb && isFlat,
    'Node itself is 50 MB of it and the modules 50 more; the rest is garbage that V8 and malloc keep for a while',
  )
}

/** Its memory, twice a second, while uploads come faster than they are scanned. */
async function atFullLoad(stage: Stage, files: readonly Buffer[], pid: number, seconds: number) {
  const seen: number[] = []
  const until = Date.now() + seconds * 1000
  let serial = 0
  const upload = async () => {
    for (; Date.now() < until; serial++)
      await stage.uploader.put(`memory/${serial}`, files[serial % files.length] as Buffer)
  }
  const watch = async () => {
    for (; Date.now() < until; await pause(500)) seen.push(memoryMb(pid).now)
  }
  await Promise.all([watch(), ...Array.from({ length: uploadsAtATime }, upload)])
  await empty(stage)
  return seen
}

/** Waits until nothing is queued or in work. */
async function empty({ broker, config, parts }: Stage): Promise<void> {
  await eventually(
    async () => {
      const ready = (await broker.ready()).get(config.broker.queue) ?? 0
      let running = 0
      for (const worker of parts.workers())
        running += await parts.metric(worker, 'avscan_lane_running')
      if (ready + running > 0) throw new Error(`${ready} objects wait, ${running} are in work`)
    },
    { timeoutMs: 600_000, everyMs: 200 },
  )
}
