// Events that get lost, come ten times, or come in reverse order.
import { readFileSync } from 'node:fs'
import { names } from '../../../services/shared/topology.ts'
import { postForm } from '../../support/post-form.ts'
import { samples } from '../../support/samples.ts'
import type { FaultContext, Row } from '../types.ts'
import { forget, requestSweep, stopWorkers, wakeWorkers, withReconciler } from './steps.ts'

const lies = {
  scanned: 'clean',
  'scanned-proof': '2.0.100.20261121T040002345Z.20261121T040002345Z...AAAAAAAAAAAAAAAAAAAAAA',
}

/** MinIO refuses our tags in a header, and takes them in a form. */
async function putTagged({ uploader, deployment }: FaultContext, key: string, bytes: Buffer) {
  const tagging = `<Tagging><TagSet>${Object.entries(lies)
    .map(([name, value]) => `<Tag><Key>${name}</Key><Value>${value}</Value></Tag>`)
    .join('')}</TagSet></Tagging>`
  const ca = readFileSync(deployment.uploader.caFile, 'utf8')
  await postForm({ ...uploader, ca }, key, bytes, {
    edit: (policy) => {
      policy.policy.conditions.push(['eq', '$tagging', tagging])
      policy.formData['tagging'] = tagging
    },
  })
  const [version] = await uploader.versions(key)
  if (version === undefined) throw new Error(`the form has left no version of ${key}`)
  const tags = await uploader.tags(key, version.versionId)
  if (tags['scanned'] !== 'clean') throw new Error('the form has left no tag')
  return version
}

/** Uploads while nobody scans, twenty infected objects with a self-made `clean` among them; then all waiting events are gone. */
async function lose(context: FaultContext, copies: boolean): Promise<void> {
  const { traffic } = context
  for (let index = 0; index < 20; index++) {
    const name = `liar-${index}.com`
    const bytes = Buffer.concat([samples.eicar(), Buffer.from(`\n${traffic.prefix}${index}`)])
    if (context.flavour !== 'minio') await traffic.put(name, bytes, 'infected', { tags: lies })
    else {
      const version = await putTagged(context, `${traffic.prefix}${name}`, bytes)
      traffic.record(version, bytes, 'infected', 'self-made clean tag by a form')
    }
  }
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
    // The reconciler too, or some of its verify jobs would get lost with the events.
    before: async (context) => {
      await stopWorkers(context)
      context.parts.signal('reconciler', 'SIGSTOP')
    },
    inject: async (context) => {
      await lose(context, false)
      context.parts.signal('reconciler', 'SIGCONT')
    },
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
