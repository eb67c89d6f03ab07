// A deployment that is measured: any number of workers with any engine, filled queues, and the CPU time and memory of each process.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { baseEnvironment } from '../../services/cli/native-plan.ts'
import { findPaths } from '../../services/cli/paths.ts'
import { readSecrets } from '../../services/cli/secrets.ts'
import { engineSizes } from '../../services/cli/settings.ts'
import { readSpec, type ChildSpec } from '../../services/cli/spec.ts'
import type { StoreFlavour } from '../../services/cli/store-process.ts'
import { applySpec } from '../../services/cli/supervision.ts'
import { spoolHoldQueue } from '../../services/shared/topology.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/real-clamd.ts'
import { storeRoot } from '../support/deployment.ts'
import { openStage as openFaultStage } from '../faults/stage.ts'
import type { BareOptions } from './bare-loop.ts'

export interface Workers {
  count: number
  /** Of clamd, one for each worker in turn. */
  sockets: readonly string[]
  env?: Readonly<Record<string, string>>
  /** With the reconciler, which looks a minute later whether every object has a verdict: at whatever is then being measured. */
  reconciled?: boolean
}

/** What one process has used: CPU in ms. */
export type CpuTimes = Record<string, number>

export interface Drain {
  objects: number
  bytes: number
  seconds: number
  /** ms of CPU for each object, by process; the workers together. */
  cpu: CpuTimes
  /** Objects a second. */
  rate: number
}

const uploadsAtATime = 16
const ticksPerSecond = 100

/** CPU that a process has used since it began, in ms. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond
}

/** Resident memory in MB (10^6 bytes): now, and the most since it began or `resetPeak`. */
export function memoryMb(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const read = (name: string) =>
    (Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? Number.NaN) * 1024) /
    1e6
  return { now: read('VmRSS'), peak: read('VmHWM') }
}

export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

export type Stage = Awaited<ReturnType<typeof openStage>>

export async function openStage(flavour: StoreFlavour, place?: string) {
  const stage = await openFaultStage(flavour, benchSettings, place)
  const { deployment, parts, broker, uploader, config } = stage
  const { runDir } = deployment
  const base = baseEnvironment(findPaths(deployment.env))
  const secrets = readSecrets(findPaths(deployment.env).envFile) ?? {}
  const deployed = readSpec(runDir)?.children ?? []
  const pattern = deployed.find(({ name }) => name === 'avscan-1')
  if (pattern === undefined) throw new Error('the deployment has no worker')
  const others = deployed.filter(({ name }) => !name.startsWith('avscan-') && name !== 'reconciler')
  const reconciler = deployed.filter(({ name }) => name === 'reconciler')
  const liveQueue = config.broker.queue
  const access = {
    protocol: 'amqps',
    hostname: '127.0.0.1',
    port: Number(pattern.env['RABBITMQ_PORT']),
    username: secrets['RABBITMQ_DEFAULT_USER'] ?? '',
    password: secrets['RABBITMQ_DEFAULT_PASS'] ?? '',
    vhost: config.broker.vhost,
    caFile: parts.layout.caFile,
  }
  /** Somebody else who uploads: the store's root has a key of its own. */
  const other = storeRoot(deployment)
  let serial = 0

  /** Lines of the workers' logs that say that an object was scanned. */
  const scanned = (reader: string) =>
    parts.workers().flatMap((worker) =>
      parts
        .newLines(worker, reader)
        .filter((line) => line.includes('"object scanned"'))
        .map((line) => ({
          ...(JSON.parse(line) as {
            timestamp: string
            key: string
            durationMs: number
            size: number
          }),
          worker,
        })),
    )

  const bench = {
    other,
    ...stage,
    access,
    /** Exactly these workers run, and are ready. */
    async workers({ count, sockets, env = {}, reconciled = false }: Workers): Promise<void> {
      const children: ChildSpec[] = []
      for (let index = 0; index < count; index++) {
        const port = await freePort()
        children.push({
          ...pattern,
          name: `avscan-${index + 1}`,
          env: {
            ...pattern.env,
            ENGINE_CONNECTIONS: String(engineSizes(count).connections),
            CLAMD_SOCKET: sockets[index % sockets.length] ?? '',
            ...env,
            HTTP_PORT: String(port),
          },
          ready: { kind: 'http', url: `http://127.0.0.1:${port}/readyz` },
        })
      }
      const beside = reconciled ? [...others, ...reconciler] : others
      await applySpec([...beside, ...children], { runDir, base })
      for (const { name } of children) parts.newLines(name, 'scans')
    },
    /** The notifier with other settings. */
    async notifier(env: Record<string, string>): Promise<void> {
      const children = (readSpec(runDir)?.children ?? []).map((child) =>
        child.name === 'notifier' ? { ...child, env: { ...child.env, ...env } } : child,
      )
      await applySpec(children, { runDir, base })
    },
    /** Puts the files into the bucket, some at a time, and returns when the queue holds their events. No worker may run. */
    async fill(files: readonly Buffer[], reconciled = false): Promise<string> {
      const prefix = `bench-${serial++}/`
      const before = (await broker.ready()).get(liveQueue) ?? 0
      let next = 0
      const work = async () => {
        for (let index = next++; index < files.length; index = next++)
          await uploader.put(`${prefix}${index}`, files[index] as Buffer)
      }
      await Promise.all(Array.from({ length: uploadsAtATime }, work))
      await eventually(
        async () => {
          const ready = ((await broker.ready()).get(liveQueue) ?? 0) - before
          if (ready < files.length) throw new Error(`${ready} of ${files.length} events came`)
        },
        { timeoutMs: 120_000, everyMs: 100 },
      )
      // They would come due in the middle of what is measured next.
      if (!reconciled) await broker.purge(spoolHoldQueue(config))
      return prefix
    },
    /**
     * Starts the workers and measures to the last object: from the first tenth of them (or the first, of few), and from when
     * every worker has scanned one.
     */
    async drain(files: readonly Buffer[], workers: Workers, fillers = 0): Promise<Drain> {
      await bench.workers({ ...workers, count: 0 })
      const prefix = await bench.fill(files, workers.reconciled)
      if (fillers > 0) await bench.addFillers(fillers)
      const skip = files.length < 50 ? 0 : Math.floor(files.length / 10)
      const times: number[] = []
      const samples: { at: number; cpu: CpuTimes }[] = []
      const started = bench.workers(workers)
      const sample = () => {
        try {
          samples.push({ at: Date.now(), cpu: bench.cpu(workers.sockets) })
        } catch {
          // It has not begun yet.
        }
      }
      const begun = new Map<string, number>()
      let first = Number.POSITIVE_INFINITY
      await eventually(
        () => {
          sample()
          for (const line of scanned(`drain ${prefix}`)) {
            if (!line.key.startsWith(prefix)) continue
            const at = Date.parse(line.timestamp)
            times.push(at)
            begun.set(line.worker, Math.min(at, begun.get(line.worker) ?? at))
            first = Math.min(first, at - line.durationMs)
          }
          if (times.length < files.length)
            throw new Error(`${times.length} of ${files.length} objects were scanned`)
        },
        { timeoutMs: 600_000, everyMs: 40 },
      )
      await started
      sample()
      times.sort((a, b) => a - b)
      const all = Math.max(...begun.values())
      const from = skip === 0 ? first : Math.max(times[skip - 1] as number, all)
      const to = times.at(-1) as number
      const objects = skip === 0 ? files.length : times.filter((at) => at > from).length
      const seconds = (to - from) / 1000
      const near = (at: number) =>
        samples.reduce((best, one) => (Math.abs(one.at - at) < Math.abs(best.at - at) ? one : best))
      const [early, late] = [near(from), near(to)]
      const scale = objects * ((late.at - early.at) / 1000 / seconds || 1)
      const cpu = Object.fromEntries(
        Object.entries(late.cpu).map(([name, ms]) => [name, (ms - (early.cpu[name] ?? 0)) / scale]),
      )
      const bytes = files.reduce((sum, file) => sum + file.length, 0) * (objects / files.length)
      return { objects, bytes, seconds, cpu, rate: objects / seconds }
    },
    /** Messages that no worker of a measurement comes to: they lie behind the objects that it measures. */
    async addFillers(count: number): Promise<void> {
      const bodies = Array.from({ length: count }, (_, index) =>
        JSON.stringify({
          Records: [
            {
              eventName: 's3:ObjectCreated:Put',
              s3: {
                bucket: {
                  name: uploader.bucket,
                  arn: `arn:aws:s3:::${uploader.bucket}${flavour === 'minio' ? '' : `/filler/${index}`}`,
                },
                object: { key: `filler/${index}`, size: 1 },
              },
            },
          ],
        }),
      )
      await broker.publish('', liveQueue, bodies)
    },
    cpu(sockets: readonly string[]): CpuTimes {
      const sum = (pids: readonly number[]) => pids.reduce((all, pid) => all + cpuMs(pid), 0)
      return {
        worker: sum(parts.workers().map((name) => parts.pid(name))),
        store: cpuMs(parts.pid('store')),
        broker: cpuMs(parts.pid('broker')),
        clamd: sum(
          [...new Set(sockets)].map((socket) => bench.engines.get(socket) ?? parts.pid('engine')),
        ),
      }
    },
    /** Pids of engines that the bench started, by socket. */
    engines: new Map<string, number>(),
    /** The yardstick over the same files. */
    async bare(files: readonly Buffer[], socket: string, sessions: number): Promise<Drain> {
      await bench.workers({ count: 0, sockets: [] })
      await bench.fill(files)
      const options: BareOptions = {
        count: files.length,
        amqp: access,
        ca: parts.layout.caFile,
        store: {
          port: Number(new URL(config.store.url).port),
          region: config.store.region,
          user: pattern.env['AVSCAN_STORE_USER'] ?? '',
          password: pattern.env['AVSCAN_STORE_PASSWORD'] ?? '',
        },
        queue: liveQueue,
        socket,
        sessions,
      }
      const child = spawn(process.execPath, [join(import.meta.dirname, 'bare-loop.ts')], {
        env: {
          PATH: process.env['PATH'] ?? '',
          BARE: JSON.stringify(options),
          NODE_OPTIONS: pattern.env['NODE_OPTIONS'] ?? '',
        },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [output, [code]] = (await Promise.all([text(child.stdout), once(child, 'exit')])) as [
        string,
        [number | null],
      ]
      if (code !== 0) throw new Error(`the bare loop ended with ${code}`)
      const {
        objects,
        seconds,
        cpuMs: used,
      } = JSON.parse(output) as {
        objects: number
        seconds: number
        cpuMs: number
      }
      const bytes = files.reduce((sum, file) => sum + file.length, 0) * (objects / files.length)
      return { objects, bytes, seconds, cpu: { worker: used / objects }, rate: objects / seconds }
    },
  }
  bench.engines.set(parts.layout.engineSocket, parts.pid('engine'))
  return bench
}

/** What people deploy, with objects of a gigabyte allowed; neither the suite's short delays nor its time-outs. */
const benchSettings: Record<string, string> = {
  SCALE: '1',
  SIGNATURES: 'test',
  RETRY_SCALE: '1',
  RABBITMQ_VHOST: '/',
  CANARY_INTERVAL_MS: '60000',
  ENGINE_BREAKER_OPEN_MS: '30000',
  RESCAN_WINDOW_MS: '2592000000',
  REPORT_CLEAN: 'false',
  AV_CONFIG: '',
  PUBLISH_URL: '',
  AVSCAN_FAULT_FILE: '',
}
