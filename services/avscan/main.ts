// avscan: takes scan and action jobs from the broker, judges objects, marks them, tells the verdicts. Wiring only.
import { refuseRacyDeletes } from './actions.ts'
import { EngineCare } from './engine-care.ts'
import { EngineNews } from './engine-news.ts'
import { createEngines } from './engines/create.ts'
import { reservedPlaces } from './engines/engine.ts'
import { Abilities } from './formats/abilities.ts'
import { Containers } from './formats/containers.ts'
import { InProgress } from './in-progress.ts'
import { createLanes } from './lanes.ts'
import { createMarks } from './marks.ts'
import { createMetrics } from './metrics.ts'
import { Gate, openScanFolder } from './scan-folder.ts'
import { Alike } from './alike.ts'
import type { Found } from './versions.ts'
import { Turns } from './turns.ts'
import { createWorkerHealth } from './worker-health.ts'
import { connectPublisher } from '../shared/broker.ts'
import { allEndpoints, GiB, maxObjectBytes } from '../shared/config-schema.ts'
import { startConsumer } from '../shared/consumer.ts'
import { silentLog } from '../shared/log.ts'
import { runService } from '../shared/lifecycle.ts'
import { createObjectStore } from '../shared/object-store.ts'
import { waitUntilReady } from '../shared/retry.ts'
import { actionsQueue } from '../shared/topology.ts'
import { UsableBuckets } from '../shared/usable-buckets.ts'

const required = ['store.user', 'store.password', 'broker.user', 'broker.password', 'proof.key']

await runService('avscan', { required }, async ({ config, log, signal, defer }) => {
  const { buckets } = config.store
  const metrics = createMetrics()
  const care = new EngineCare(config, metrics, log)
  const engines = createEngines(config, log, care)
  const { judge } = engines
  defer(() => judge.close())
  const store = createObjectStore({ ...config.store, caFile: config.tls.ca })
  defer(() => store.close())
  const usable = new UsableBuckets(buckets, store, log)
  const health = createWorkerHealth(engines.parts, metrics, usable)
  const server = await health.listen(config, log)
  defer(() => server.close())
  const folder = await openScanFolder(config.scan.folder, config.limits.volumeGb * GiB)
  defer(() => folder.close())

  const probes = {
    store: () => usable.probe(),
    engine: () => judge.probe(signal),
    engineOrPass: () => judge.probe(signal).catch((error: unknown) => care.passOr(error, judge)),
  }
  const { waiting } = health
  await waitUntilReady('the object store', probes.store, { log, signal, waiting })
  const { deleteUnversioned } = config.actions
  const unversioned = { store, recordsBucket: config.records.bucket, deleteUnversioned }
  await refuseRacyDeletes(usable.names, config.actions.delete, unversioned)
  // The engine tells its outages itself.
  await waitUntilReady('the engine', probes.engineOrPass, { log: silentLog, signal, waiting })
  const publisher = await connectPublisher(config, log, signal)
  defer(() => publisher.close())

  const outbox = {
    publisher,
    scanQueue: config.broker.queue,
    actionsQueue: actionsQueue(config),
    endpoints: allEndpoints(config),
  }
  const policy = { tags: config.tags.enabled, delete: config.actions.delete }
  const limits = { policy, maxObjectBytes: maxObjectBytes(config), gate: new Gate(), buckets }
  const turns = new Turns({ places: () => judge.places, reserved: reservedPlaces })
  const marks = createMarks(store, config)
  const news = new EngineNews(publisher)
  const isBusy = () => consumer.lanes.some(({ running }) => running > 0)
  const abilities = new Abilities(engines.parts, log, isBusy)
  const passing = {
    why: () => care.passing(judge),
    passed: (lastModified: Date) => news.passed(lastModified),
  }
  const scanning = {
    passing,
    store,
    engines: [judge],
    containers: new Containers(abilities),
    folder,
    marks,
    outbox,
    metrics,
    log,
    turns,
    alike: new Alike<Found[]>(),
    inProgress: new InProgress(store, config.records.bucket, log),
    ...limits,
  }
  const lanes = createLanes(
    config,
    scanning,
    { ...unversioned, outbox, marks, metrics, log },
    probes,
    signal,
  )
  const consumer = await startConsumer(config, lanes, publisher, log, signal)
  defer(() => consumer.stop(config.shutdown.timeoutMs))
  care.run({ engines, consumer, news, abilities, signal })
  const watching = usable.watch(signal)
  defer(() => watching)
  health.consuming(consumer, publisher, folder)
  log.info('ready', { buckets, maxObjectBytes: limits.maxObjectBytes })
})
