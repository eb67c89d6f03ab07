// Queues of an earlier configuration: what they are still fed is taken away or named. None is deleted: that is for people to decide.
import type { Config } from '../shared/config-schema.ts'
import { spoolQueue, type Topology } from '../shared/topology.ts'
import type { Management } from './management.ts'
import type { Report } from './report.ts'

const enc = encodeURIComponent

/** Call it after the queues that are wanted are bound, so that no event passes between the two. */
export async function releaseFormerQueues(
  api: Management,
  config: Config,
  { queues }: Topology,
  report: Report,
): Promise<void> {
  const { vhost } = config.broker
  const found = ((await api.get(`/queues/${enc(vhost)}?columns=name`)) ?? []) as { name: string }[]
  const wanted = new Set(queues.map((queue) => queue.name))
  const hold = `${spoolQueue(config)}.hold.`
  for (const { name } of found) {
    if (wanted.has(name)) continue
    if (name.startsWith('avscan.notify'))
      report.warn(`queue ${name} belongs to no endpoint any more and fills: delete it`)
    if (name.startsWith(hold)) await unbind(api, config, name, report)
  }
}

/** A hold queue of another delay, beside the one of now, would bring each event to the spool lane twice. */
async function unbind(
  api: Management,
  { broker: { vhost, exchange } }: Config,
  queue: string,
  report: Report,
): Promise<void> {
  const path = `/bindings/${enc(vhost)}/e/${enc(exchange)}/q/${enc(queue)}`
  const bindings = ((await api.get(path)) ?? []) as { properties_key: string }[]
  for (const { properties_key } of bindings) {
    await api.delete(`${path}/${enc(properties_key)}`)
    report.say(`binding ${exchange} → ${queue}, of another reconcile.afterMs`, 'taken away')
  }
  report.warn(
    `queue ${queue} is fed no more; what it holds goes to the spool queue by itself, then you may delete it`,
  )
}
