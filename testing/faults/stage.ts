// A deployment to break, with all that rows and checks need around it.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { layoutOf } from '../../services/cli/layout.ts'
import { planConfig } from '../../services/cli/native-plan.ts'
import { findPaths } from '../../services/cli/paths.ts'
import { readPorts } from '../../services/cli/ports.ts'
import { readSecrets } from '../../services/cli/secrets.ts'
import { parseScale, readSettings } from '../../services/cli/settings.ts'
import type { StoreFlavour } from '../../services/cli/store-process.ts'
import { createObjectStore } from '../../services/shared/object-store.ts'
import { deployNative } from '../support/deployment.ts'
import { testSignatureSet } from '../support/signature-set.ts'
import { createUploader } from '../support/uploader.ts'
import { secretOf, startWebhookReceiver } from '../support/webhook-receiver.ts'
import { createBrokerControl } from './broker.ts'
import { createCheck } from './check.ts'
import { createParts } from './parts.ts'
import type { Upload } from './types.ts'
import { Webhooks } from './webhooks.ts'

/** 1/60 of every delay; the queues with other delays in their names are in a virtual host of their own. */
const suiteSettings = {
  SCALE: '2',
  RETRY_SCALE: String(1 / 60),
  RABBITMQ_VHOST: 'faults',
  CANARY_INTERVAL_MS: '3000',
  ENGINE_BREAKER_OPEN_MS: '2000',
  // The objects of the row that changes the signatures, not those of every row before.
  RESCAN_WINDOW_MS: '60000',
  REPORT_CLEAN: 'true',
  AV_CONFIG: join(import.meta.dirname, 'av-scan.yaml'),
}

export const firstSignatures = 100

export type Stage = Awaited<ReturnType<typeof openStage>>

/** Deploys, with `settings` over those of the suite; some 20 s. */
export async function openStage(
  flavour: StoreFlavour,
  settings: Readonly<Record<string, string>>,
  runDir?: string,
) {
  const secret = secretOf(7)
  const receiver = await startWebhookReceiver({ secrets: [secret] })
  const folder = join(findPaths({}).runDir, `test-${process.pid}-faults`)
  const faultFile = join(folder, 'step')
  const signatures = join(folder, 'signatures')
  mkdirSync(folder, { recursive: true })
  await testSignatureSet(signatures, { version: firstSignatures })
  const deployment = await deployNative({
    flavour,
    ...(runDir === undefined ? {} : { runDir }),
    env: {
      ...suiteSettings,
      PUBLISH_URL: receiver.url(),
      PUBLISH_SECRET: secret,
      AVSCAN_FAULT_FILE: faultFile,
      SIGNATURES: `dir:${signatures}`,
      ...settings,
    },
  })
  const paths = findPaths(deployment.env)
  const layout = layoutOf(deployment.runDir)
  const kept = readSettings(deployment.runDir)
  const secrets = readSecrets(paths.envFile)
  const ports = readPorts(deployment.runDir)
  if (kept === undefined || secrets === undefined || ports === undefined)
    throw new Error(`${deployment.runDir} holds no deployment`)
  const scale = parseScale(kept['SCALE'])
  const config = planConfig({ paths, layout, ports, secrets, settings: kept, scale, flavour })
  const store = createObjectStore({
    ...config.store,
    user: secrets['AVSCAN_STORE_USER'] ?? '',
    password: secrets['AVSCAN_STORE_PASSWORD'] ?? '',
    caFile: layout.caFile,
  })
  const uploader = createUploader({ ...deployment.uploader, noRetry: true })
  const webhooks = new Webhooks(receiver)
  const broker = createBrokerControl(config, {
    amqpPort: ports.amqps,
    managementUrl: `https://127.0.0.1:${ports.management}`,
    caFile: layout.caFile,
    vhost: config.broker.vhost,
    user: secrets['RABBITMQ_DEFAULT_USER'] ?? '',
    password: secrets['RABBITMQ_DEFAULT_PASS'] ?? '',
  })
  return {
    flavour,
    deployment,
    receiver,
    uploader,
    webhooks,
    broker,
    config,
    faultFile,
    signatures,
    parts: createParts(deployment),
    /** Of all rows so far. */
    uploads: [] as Upload[],
    checkWith: (newIds: boolean) => createCheck({ store, config, uploader, webhooks, newIds }),
    async close() {
      uploader.close()
      store.close()
      await broker.close()
      await deployment.stop()
      await receiver.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
