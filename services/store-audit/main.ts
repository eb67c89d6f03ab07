// store-audit: takes the audit log of MinIO or Silo and queues for another judgement what events cannot be trusted to tell. Wiring only.
import { join } from 'node:path'
import { collectDefaultMetrics, Registry } from '@prometheus-io/client'
import { createAlerts } from './alerts.ts'
import { createCall } from './call-store.ts'
import { createJobs } from './jobs.ts'
import { createMetrics } from './metrics.ts'
import { createPulse, type Pulse } from './pulse.ts'
import { startReceiver } from './receiver.ts'
import { forgetState, openState } from './state.ts'
import { createTake } from './take.ts'
import { createUploads } from './uploads.ts'
import { connectPublisher, type Publisher } from '../shared/broker.ts'
import { startHealth } from '../shared/health.ts'
import { runService, version } from '../shared/lifecycle.ts'

const required = ['broker.user', 'broker.password', 'audit.token']
const minuteMs = 60_000

await runService('store-audit', { required }, async ({ config, log, signal, defer }) => {
  const { audit, broker } = config
  const { buckets } = config.store
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const metrics = createMetrics(registry)
  let [publisher, pulse]: [Publisher?, Pulse?] = []
  const health = await startHealth(config, log, {
    notReady: () => [
      ...(audit.enabled && pulse === undefined ? ['starting'] : []),
      ...(publisher?.connected === false ? ['no connection to the broker'] : []),
      ...(pulse?.silence === undefined ? [] : [pulse.silence]),
    ],
    facts: () => ({ version, audit: audit.enabled ? (pulse?.facts ?? 'starting') : 'off' }),
    registry,
  })
  defer(() => health.close())
  const stateFile = join(audit.folder, 'state.json')
  if (!audit.enabled) {
    forgetState(stateFile)
    log.info('STORE_AUDIT is off: nothing is taken', { healthPort: health.port })
    return
  }

  const state = openState(stateFile)
  publisher = await connectPublisher(config, log, signal)
  defer(() => publisher?.close())
  const everyMs = minuteMs * config.retry.scale
  const jobs = createJobs({ publisher, state, log, queue: broker.queue, sweepEveryMs: everyMs })
  const { call, close } = createCall(config)
  defer(close)
  const { queueSize } = audit
  pulse = createPulse({ call, state, queueSize, intervalMs: everyMs, onGap: jobs.sweep })
  const [uploads, alerts] = [createUploads(), createAlerts(log)]
  const take = createTake({ buckets, jobs, pulse, uploads, alerts, metrics, log })
  const receiver = await startReceiver(audit, take, log)
  const loops = [jobs.run(signal), pulse.run(signal)]
  defer(() => Promise.all(loops))
  defer(() => receiver.close())
  log.info('ready', { buckets, port: receiver.port, healthPort: health.port })
})
