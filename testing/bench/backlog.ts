// What an object costs in front of a long queue, and in a bucket with many objects.
import { spoolHoldQueue } from '../../services/shared/topology.ts'
import type { Bench } from './bench.ts'
import { median, round } from './report.ts'
import type { Drain } from './stage.ts'

const uploadsAtATime = 16

const show = (count: number) => count.toLocaleString('en')
const costOf = ({ cpu }: Drain) => Object.values(cpu).reduce((all, ms) => all + ms, 0)

export async function backlog({ stage, corpora, clamd, sizes, figure, target }: Bench) {
  const section = 'Backlog: cost of an S object, 1 worker, EICAR only'
  const files = corpora.S.files.slice(0, sizes.front)
  const queue = stage.config.broker.queue
  const sockets = [clamd.socket]
  /** ms of CPU in all processes. */
  const measure = async (title: string, fillers: number) => {
    const drained: Drain[] = []
    for (let at = 0; at < sizes.rounds; at++) {
      drained.push(await stage.drain(files, { count: 1, sockets }, fillers))
      await stage.workers({ count: 0, sockets })
      await stage.broker.purge(queue)
    }
    const cost = median(drained.map(costOf))
    const rate = median(drained.map((one) => one.rate))
    const parts = Object.keys(drained[0]?.cpu ?? {}).map(
      (part) => `${part} ${round(median(drained.map(({ cpu }) => cpu[part] ?? 0)), 2)}`,
    )
    figure(
      section,
      title,
      `${round(cost, 2)} ms CPU each (${parts.join(', ')}), ${round(rate)} objects/s`,
    )
    return cost
  }
  const costs: number[] = []
  for (const count of sizes.backlogs)
    costs.push(await measure(`${show(count)} messages behind it in the queue`, count))
  const growth = (costs.at(-1) ?? Number.NaN) / (costs[0] ?? Number.NaN) - 1
  target(
    `backlog: 1 → ${show(sizes.backlogs.at(-1) ?? 0)} messages`,
    `${growth < 0 ? '' : '+'}${round(growth * 100)} % CPU per object`,
    '≤ 10 %',
    growth <= 0.1,
  )
  let there = 0
  for (const count of sizes.buckets) {
    let next = there
    const upload = async () => {
      for (let index = next++; index < count; index = next++)
        await stage.uploader.put(
          `bucket/${index}`,
          corpora.S.files[index % corpora.S.files.length] as Buffer,
        )
    }
    await Promise.all(Array.from({ length: uploadsAtATime }, upload))
    there = count
    await stage.broker.purge(queue)
    // Their second copies would come due while others are measured.
    await stage.broker.purge(spoolHoldQueue(stage.config))
    await measure(`${show(count)} other objects in one folder of the bucket`, 0)
  }
}
