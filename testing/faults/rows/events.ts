// Events that get lost, come ten times, or come in reverse order.
import { names } from '../../../services/shared/topology.ts'
import { samples } from '../../support/samples.ts'
import type { FaultContext, Row } from '../types.ts'
import { forget, requestSweep, stopWorkers, wakeWorkers, withReconciler } from './steps.ts'

const lies = { scanned: 'clean', 'scanned-proof': '1.0.100.AAAAAAAAAAAAAAAAAAAAAA' }

/** Uploads while nobody scans, each tenth with a self-made `clean`; then all waiting events are gone. */
async function lose(context: FaultContext, copies: boolean): Promise<void> {
  const { traffic } = context
  for (let index = 0; index < 20; index++)
    await traffic.put(
      `liar-${index}.com`,
      Buffer.concat([samples.eicar(), Buffer.from(`\n${traffic.prefix}${index}`)]),
      'infected',
      { tags: lies },
    )
  await traffic.done()
  const count = await forget(context, copies)
  context.say(`${count} events lost`)
  if (count < traffic.uploads.length / 2) throw new Error(`only ${count} events could be lost`)
  wakeWorkers(context)
}

/** Publishes what waits in the live queue in another form. */
async function rearrange(
  context: FaultContext,
  change: (bodies: readonly Buffer[]) => readonly Buffer[],
): Promise<void> {
  const { broker, traffic } = context
  const { queue } = broker.config.broker
  await traffic.done()
  const bodies = await broker.take(queue)
  if (bodies.length < traffic.uploads.length / 2) throw new Error(`${bodies.length} events waited`)
  await broker.publish(names.jobs, queue, change(bodies))
  wakeWorkers(context)
}

export const eventRows: readonly Row[] = [
  {
    name: 'lost-event',
    title: 'lost events, objects with a self-made clean tag among them; a sweep finds them',
    short: true,
    needs: withReconciler,
    before: stopWorkers,
    inject: async (context) => {
      await lose(context, context.flavour === 'minio')
      await requestSweep(context)
    },
  },
  {
    name: 'lost-event-spool',
    title: "lost events; the store's second copies find them",
    stores: ['minio'],
    needs: withReconciler,
    before: stopWorkers,
    inject: (context) => lose(context, false),
  },
  {
    name: 'event-ten-times',
    title: 'every event delivered ten times',
    before: stopWorkers,
    inject: (context) =>
      rearrange(context, (bodies) => Array.from({ length: 10 }, () => bodies).flat()),
    expectations: { scansPerObject: 2 },
  },
  {
    name: 'event-reverse',
    title: 'events in reverse order',
    before: stopWorkers,
    inject: (context) => rearrange(context, (bodies) => bodies.toReversed()),
  },
]
