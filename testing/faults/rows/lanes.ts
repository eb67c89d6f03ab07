// Live, spool and bulk work beside each other: nothing is scanned twice behind a backlog, and bulk work does not slow live work down.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { readSpec } from '../../../services/cli/spec.ts'
import { bulkQueue, names } from '../../../services/shared/topology.ts'
import { runCli, runCommandLine } from '../../support/deployment.ts'
import { eventually } from '../../support/eventually.ts'
import type { FaultContext, Row } from '../types.ts'
import { requestSweep } from './steps.ts'

const uploadsAtATime = 16

/** Small clean objects below `prefix`, as fast as the store takes them; their keys. */
async function uploadMany(context: FaultContext, prefix: string, count: number): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, index) => `${prefix}${index}.txt`)
  let next = 0
  const work = async () => {
    for (let key = keys[next++]; key !== undefined; key = keys[next++])
      await context.uploader.put(key, Buffer.from(`${key}\n`.repeat(20)))
  }
  await Promise.all(Array.from({ length: uploadsAtATime }, work))
  return keys
}

/** Scans of objects below `prefix` since the last call. */
function countScans({ parts }: FaultContext, prefix: string): number {
  let scans = 0
  for (const worker of parts.workers())
    for (const line of parts.newLines(worker, 'lanes'))
      if (line.includes('"object scanned"') && line.includes(prefix)) scans++
  return scans
}

async function awaitVerdicts({ receiver }: FaultContext, keys: readonly string[]): Promise<void> {
  const open = new Set(keys)
  let seen = 0
  await eventually(
    () => {
      for (; seen < receiver.requests.length; seen++) {
        const { body } = receiver.requests[seen] as (typeof receiver.requests)[number]
        if (body.type === 'object.scan.clean') open.delete(body.data.s3ObjectDetails.objectKey)
      }
      if (open.size > 0) throw new Error(`${open.size} of ${keys.length} have no verdict`)
    },
    { timeoutMs: 600_000, everyMs: 500 },
  )
}

const mostScansPerObject = 1.01

/** The whole spool lane and a sweep come while everything still waits in the live queue. */
const backlog = (count: number): Row => ({
  name: `backlog-${count}`,
  title: `a backlog of ${count.toLocaleString('en')} objects, with spool lane and sweep beside it`,
  objects: 0,
  async inject(context) {
    const { parts } = context
    const prefix = `backlog/${randomUUID()}/`
    countScans(context, prefix)
    parts.signalAll(parts.workers(), 'SIGSTOP')
    let keys: string[]
    try {
      keys = await uploadMany(context, prefix, count)
    } finally {
      parts.signalAll(parts.workers(), 'SIGCONT')
    }
    await requestSweep(context)
    await awaitVerdicts(context, keys)
    const scans = countScans(context, prefix)
    const perObject = scans / count
    context.say(`${perObject.toFixed(4)} scans per object`)
    if (perObject > mostScansPerObject)
      throw new Error(`${perObject.toFixed(4)} scans per object, at most ${mostScansPerObject}`)
    return { objects: count, scans }
  },
})

const latencyRounds = 3
const latencyUploads = 60
const bulkJobs = 6000
const mostSlowdown = 1.5

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** Milliseconds from the answer to the upload to the webhook, of uploads at a steady, moderate rate. */
async function latencies(context: FaultContext, prefix: string): Promise<number[]> {
  const found: number[] = []
  for (let index = 0; index < latencyUploads; index++) {
    const key = `${prefix}${index}.txt`
    const from = context.receiver.requests.length
    await context.uploader.put(key, Buffer.from(`${key}\n`.repeat(20)))
    const answered = performance.now()
    await eventually(
      () =>
        context.receiver.requests
          .slice(from)
          .some(({ body }) => body.data.s3ObjectDetails.objectKey === key),
      { timeoutMs: 60_000, everyMs: 1 },
    )
    found.push(performance.now() - answered)
  }
  return found
}

const sweepBesideLive: Row = {
  name: 'bulk-beside-live',
  title: `p95 of live uploads beside a full bulk lane`,
  objects: 0,
  async inject(context) {
    const { broker, uploader } = context
    const prefix = `beside/${randomUUID()}/`
    const old = await uploadMany(context, `${prefix}old/`, 500)
    await awaitVerdicts(context, old)
    const quiet: number[] = []
    const busy: number[] = []
    const queue = bulkQueue(broker.config)
    for (let round = 0; round < latencyRounds; round++) {
      quiet.push(...(await latencies(context, `${prefix}quiet-${round}/`)))
      // Each is a scan: by hand nobody asks for a proof.
      const jobs = Array.from({ length: bulkJobs }, (_, index) => ({
        objects: [{ bucket: uploader.bucket, key: old[index % old.length] }],
        trigger: { kind: 'manual', id: randomUUID() },
      }))
      await broker.publish(names.jobs, queue, jobs)
      busy.push(...(await latencies(context, `${prefix}busy-${round}/`)))
      const left = await broker.purge(queue)
      context.say(
        `round ${round + 1}: ${bulkJobs - left} bulk jobs beside ${latencyUploads} uploads`,
      )
      if (left === 0) throw new Error('the bulk lane ran empty: nothing was measured')
      if (left === bulkJobs) throw new Error('the bulk lane did not move')
    }
    const [p95Quiet, p95Busy] = [percentile(quiet, 0.95), percentile(busy, 0.95)]
    const slowdown = p95Busy / p95Quiet
    context.say(
      `PUT answered → webhook, p50/p95: ${percentile(quiet, 0.5).toFixed(1)}/${p95Quiet.toFixed(1)} ms alone, ` +
        `${percentile(busy, 0.5).toFixed(1)}/${p95Busy.toFixed(1)} ms beside bulk work: ${slowdown.toFixed(2)}×`,
    )
    if (slowdown > mostSlowdown)
      throw new Error(`the p95 is ${slowdown.toFixed(2)} times that without bulk work`)
  },
}

const mostReconcilerBytes = 150 * 1000 * 1000

/** The store alone, without its events: as its supervisor starts it, less what leads to the broker. */
function storeAlone({ deployment }: FaultContext): { command: string[]; env: NodeJS.ProcessEnv } {
  const child = readSpec(deployment.runDir)?.children.find(({ name }) => name === 'store')
  if (child === undefined) throw new Error('the deployment has no store')
  const command: string[] = []
  for (let index = 0; index < child.command.length; index++) {
    const word = child.command[index] as string
    // Each has a value.
    if (word.startsWith('--event-')) index++
    else command.push(word)
  }
  const { VGW_EVENT_RABBITMQ_URL: _, ...env } = child.env
  return { command, env }
}

/** Peak of its resident memory, in bytes. */
function peakBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) * 1024
}

const sweepAll = (count: number): Row => ({
  name: `sweep-${count}`,
  title: `${count.toLocaleString('en')} objects uploaded while everything else was stopped, then make sweep`,
  objects: 0,
  async inject(context) {
    const { parts, deployment, say } = context
    const prefix = `sweep/${randomUUID()}/`
    countScans(context, prefix)
    const { command, env } = storeAlone(context)
    await runCli(['stop'], deployment.env)
    const [program = '', ...args] = command
    const store = spawn(program, args, { env, stdio: 'ignore' })
    const ended = once(store, 'exit')
    let keys: string[]
    try {
      await eventually(() => context.uploader.put(`${prefix}first.txt`, Buffer.from('first')), {
        timeoutMs: 60_000,
        everyMs: 200,
      })
      keys = [`${prefix}first.txt`, ...(await uploadMany(context, prefix, count - 1))]
    } finally {
      store.kill('SIGKILL')
      await ended
    }
    await runCli(['start'], deployment.env)
    const begun = performance.now()
    const { all: shown } = await runCommandLine(['sweep'], deployment.env)
    const lines = shown.trim().split('\n')
    say(`make sweep: ${lines.length} lines, the last one: ${lines.at(-1)}`)
    if (lines.length < 2) throw new Error(`make sweep shows no progress: ${shown}`)
    await awaitVerdicts(context, keys)
    const seconds = (performance.now() - begun) / 1000
    const bytes = peakBytes(parts.pid('reconciler'))
    const scans = countScans(context, prefix)
    const perObject = scans / count
    say(
      `${(count / seconds).toFixed(0)} objects/s, ${perObject.toFixed(4)} scans per object, ` +
        `the reconciler had at most ${(bytes / 1e6).toFixed(0)} MB`,
    )
    if (bytes > mostReconcilerBytes)
      throw new Error(`the reconciler took ${(bytes / 1e6).toFixed(0)} MB`)
    if (perObject > mostScansPerObject)
      throw new Error(`${perObject.toFixed(4)} scans per object, at most ${mostScansPerObject}`)
    return { objects: count, scans }
  },
})

export const lanes: readonly Row[] = [
  backlog(5000),
  { ...backlog(20_000), onlyByName: true },
  sweepAll(20_000),
  sweepBesideLive,
]
