// One row on a stage: its stream, its fault, the wait until all is quiet, the invariants.
import { rmSync } from 'node:fs'
import { describeError } from '../../services/shared/errors.ts'
import { eventually } from '../support/eventually.ts'
import { createRandom } from './mix.ts'
import { awaitEmpty, awaitQuiet, whatIsOpen } from './quiet.ts'
import { requestSweep } from './rows/steps.ts'
import type { Stage } from './stage.ts'
import type { Tally } from './check.ts'
import { Traffic } from './traffic.ts'
import type { FaultContext, OwnObjects, Row, Upload } from './types.ts'

export interface RowResult extends Tally {
  name: string
  title: string
  store: string
  /** Verdicts that were told and whose tags the store had lost, until a sweep came. */
  healed: number
  scansPerObject: number
  secondsToQuiet: number
  seconds: number
  passed: boolean
  skipped?: string
}

export interface PlayOptions {
  objects: number
  short: boolean
  seed: number
  say: (text: string) => void
}

export async function play(row: Row, stage: Stage, options: PlayOptions): Promise<RowResult> {
  const begun = performance.now()
  const { broker, parts, uploader, receiver, deployment, flavour, faultFile, signatures } = stage
  const { expectations = {} } = row
  const { quietMs = 120_000, newIds = false, scansPerObject: mostScans } = expectations
  const check = stage.checkWith(newIds)
  const traffic = new Traffic({
    uploader,
    prefix: `${row.name}-${options.seed.toString(36)}/`,
    count: row.objects ?? options.objects,
    perSecond: row.rate ?? 40,
    random: createRandom(options.seed),
    keepsOverwrites: flavour !== 'versitygw',
  })
  const { uploads } = traffic
  const open = () => whatIsOpen(broker, parts, check, uploads)
  const context: FaultContext = {
    flavour,
    short: options.short,
    deployment,
    uploader,
    receiver,
    broker,
    parts,
    traffic,
    faultFile,
    signatures,
    recovered: async () => {
      await eventually(
        async () => {
          const troubles = await parts.troubles()
          if (troubles.length > 0) throw new Error(troubles.join('; '))
        },
        { timeoutMs: 120_000, everyMs: 200 },
      )
    },
    say: options.say,
  }
  for (const worker of parts.workers()) parts.newLines(worker, 'scans')
  for (const name of parts.names()) parts.newLines(name, 'all')
  const problems: string[] = []
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work()
    } catch (error) {
      problems.push(`${what}: ${describeError(error)}`)
    }
  }

  await attempt('before', async () => row.before?.(context))
  const watch = check.watch(uploads)
  traffic.start()
  let own: OwnObjects = { objects: 0, scans: 0 }
  await Promise.all([
    attempt('the fault', async () => {
      own = (await row.inject(context)) ?? own
    }),
    attempt('the stream', () => traffic.done()),
  ])
  rmSync(faultFile, { force: true })
  options.say(`fault over, ${uploads.length} objects; waiting until quiet`)
  await attempt('uploads without an answer', () =>
    eventually(() => traffic.resolveUnanswered().then(() => true), { timeoutMs: 60_000 }),
  )
  const quiet = await awaitQuiet(open, quietMs)
  if (quiet.open !== undefined) problems.push(`not quiet after ${quietMs} ms: ${quiet.open}`)
  problems.push(...(await watch.stop()))

  const [before, held] = await Promise.all([check.check(uploads), awaitEmpty(broker, 20_000)])
  if (held !== undefined) problems.push(held)
  let tally = before
  if (flavour === 'versitygw' && before.lost > 0 && quiet.open === undefined) {
    // It loses a tag that is written in the moment in which another version or a delete marker comes: told, and not proven.
    await attempt('sweep', () => requestSweep(context))
    const swept = await awaitQuiet(open, quietMs)
    if (swept.open !== undefined) problems.push(`the sweep does not end: ${swept.open}`)
    tally = await check.check(uploads)
    tally.problems.push(...before.problems.filter((problem) => problem.startsWith('the webhook ')))
    options.say(
      `${before.lost - tally.lost} verdicts whose tags the store had lost: healed by a sweep`,
    )
  }
  await attempt('versions in the bucket', async () => {
    problems.push(...(await check.strangers(traffic.prefix, uploads)))
  })
  await attempt('temporary files', () =>
    eventually(
      () => {
        // That of a canary comes and goes.
        const files = parts.scanFiles()
        if (files.length > 0) throw new Error(`left in the scan folder: ${files.join(', ')}`)
        return true
      },
      { timeoutMs: 10_000 },
    ),
  )
  await attempt('avscan.dead', async () => {
    for (const message of await broker.takeDead())
      if (expectations.dead?.(message) !== true)
        problems.push(
          `in avscan.dead: ${message.origin} ${message.reason} ${message.body.slice(0, 300)}`,
        )
  })
  await attempt('after', async () => row.after?.(context))
  stage.uploads.push(...uploads)
  const scans = countScans(stage, traffic.prefix) + own.scans
  const objects = tally.objects + own.objects
  const scansPerObject = objects === 0 ? 0 : scans / objects
  if (mostScans !== undefined && scansPerObject > mostScans)
    problems.push(`${scansPerObject.toFixed(2)} scans per object, at most ${mostScans} are allowed`)
  problems.unshift(...tally.problems)
  for (const line of whatWasLogged(stage, tally.troubled.slice(0, 3))) options.say(line)
  return {
    ...tally,
    objects,
    verdictsTrue: tally.verdictsTrue + own.objects,
    problems,
    name: row.name,
    title: row.title,
    store: flavour,
    healed: before.lost - tally.lost,
    scansPerObject,
    secondsToQuiet: quiet.seconds,
    seconds: (performance.now() - begun) / 1000,
    passed: problems.length === 0,
  }
}

/** What the parts logged about objects that came to no good end. */
function whatWasLogged({ parts }: Stage, uploads: readonly Upload[]): string[] {
  const names = ['store', 'reconciler', 'notifier', ...parts.workers()].filter((name) =>
    parts.has(name),
  )
  const lines = names.flatMap((name) =>
    parts.newLines(name, 'all').map((line) => `${name}: ${line}`),
  )
  return uploads.flatMap(({ key }) => {
    const about = lines.filter((line) => line.includes(JSON.stringify(key).slice(1, -1)))
    return about.length === 0
      ? [`nothing was logged about ${key}`]
      : about.slice(0, 20).map((line) => line.slice(0, 600))
  })
}

/** Those that came to a verdict; a worker killed before it could say so is not counted. */
function countScans({ parts }: Stage, prefix: string): number {
  let scans = 0
  for (const worker of parts.workers())
    for (const line of parts.newLines(worker, 'scans'))
      if (line.includes('"object scanned"') && line.includes(prefix)) scans++
  return scans
}
