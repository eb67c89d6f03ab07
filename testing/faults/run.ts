// The fault suite: breaks a deployed stack in every way we know, and checks every object and every webhook afterwards.
// Usage: node testing/faults/run.ts [--store minio|versitygw] [--only NAME …] [--short] [--objects N] [--seed N] [--list] [--hold]
// --hold leaves the deployment of a row that failed as it is, until its file `hold` is removed.
// Writes testing/faults/results/<short|full>.{md,json}; ends with `N passed, N failed, N skipped`.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findStore } from '../../services/cli/install-store.ts'
import { findPaths } from '../../services/cli/paths.ts'
import type { StoreFlavour } from '../../services/cli/store-process.ts'
import { describeError } from '../../services/shared/errors.ts'
import { randomSeed } from './mix.ts'
import { play, type RowResult } from './play.ts'
import { rows } from './rows/index.ts'
import { openStage } from './stage.ts'
import { markdown } from './table.ts'
import type { Row } from './types.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    store: { type: 'string' },
    only: { type: 'string', multiple: true },
    short: { type: 'boolean', default: false },
    objects: { type: 'string' },
    seed: { type: 'string' },
    list: { type: 'boolean', default: false },
    hold: { type: 'boolean', default: false },
  },
})
const print = (text: string) => process.stdout.write(`${text}\n`)
const begun = Date.now()
const elapsed = () => `${String(Math.round((Date.now() - begun) / 1000)).padStart(4)} s`

function wantedRows(): Row[] {
  const only = [...(values.only ?? []), ...positionals]
  const unknown = only.filter((name) => !rows.some((row) => row.name === name))
  if (unknown.length > 0) throw new Error(`there is no row ${unknown.join(', ')}; --list shows all`)
  return rows.filter(
    (row) =>
      (only.length === 0 ? row.onlyByName !== true : only.includes(row.name)) &&
      (!values.short || row.short === true),
  )
}

async function stores(): Promise<StoreFlavour[]> {
  const { store } = values
  if (store === 'minio' || store === 'versitygw') return [store]
  if (store !== undefined) throw new Error(`--store is minio or versitygw, not ${store}`)
  try {
    await findStore('minio', findPaths({}).toolsDir)
  } catch (error) {
    print(`MinIO: skipped, ${describeError(error)}`)
    return ['versitygw']
  }
  return ['minio', 'versitygw']
}

/** Of the short form: how a store's events come, and what it does when the broker goes. */
const shortOnSecond = new Set(['broker-restart', 'lost-event'])

/** Twice is for the rows in which the store has a part: all of them on both would take more than an hour. */
function notOn(row: Row, store: StoreFlavour, isSecond: boolean): string | undefined {
  if (row.stores !== undefined && !row.stores.includes(store))
    return `only on ${row.stores.join(', ')}`
  return isSecond && row.stores === undefined && row.everyStore !== true
    ? 'the store has no part in it, and it was played on minio (--store versitygw plays it here)'
    : undefined
}

const skippedRow = (row: Row, store: string, skipped: string): RowResult => ({
  name: row.name,
  title: row.title,
  store,
  skipped,
  objects: 0,
  verdictsTrue: 0,
  lost: 0,
  wronglyDeleted: 0,
  wrongVerdicts: 0,
  webhooksLost: 0,
  duplicates: 0,
  healed: 0,
  scansPerObject: 0,
  secondsToQuiet: 0,
  seconds: 0,
  problems: [],
  troubled: [],
  passed: false,
})

/** Plays rows that share a deployment. */
async function playAll(
  group: readonly Row[],
  store: StoreFlavour,
  seed: number,
): Promise<RowResult[]> {
  const results: RowResult[] = []
  print(`${elapsed()}  deploying on ${store} ${JSON.stringify(group[0]?.settings ?? {})}`)
  const stage = await openStage(store, group[0]?.settings ?? {})
  try {
    for (const row of group) {
      const why = row.needs?.(stage)
      if (why !== undefined) {
        print(`${elapsed()}  skipped: ${row.name}: ${why}`)
        results.push(skippedRow(row, store, why))
        continue
      }
      print(`${elapsed()}  ${row.name} on ${store}: ${row.title}`)
      const say = (text: string) => print(`${elapsed()}      ${text}`)
      const objects = Number(values.objects ?? (values.short ? 120 : 210))
      const options = { objects, short: values.short, seed, say }
      const result = await play(row, stage, options)
      results.push(result)
      report(result)
      if (!result.passed && values.hold) await hold(stage.deployment.runDir)
      if (!result.passed) await recover(() => stage.parts.troubles())
    }
    // What came after its row had been checked.
    const lies = stage.webhooks.lies(stage.uploads)
    const last = results.findLast((row) => row.skipped === undefined)
    if (last !== undefined && lies.length > 0 && results.every((row) => row.wrongVerdicts === 0)) {
      last.passed = false
      last.problems.push(...lies)
      report(last)
    }
  } finally {
    await stage.close()
  }
  return results
}

/** For somebody who looks into it. */
async function hold(runDir: string): Promise<void> {
  const file = join(runDir, 'hold')
  writeFileSync(file, '')
  print(`held: rm ${file} to go on`)
  while (existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 500))
}

/** A row that failed must not make the next one fail. */
async function recover(troubles: () => Promise<string[]>): Promise<void> {
  for (let tries = 0; tries < 60 && (await troubles()).length > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 500))
}

function report(result: RowResult): void {
  const { problems, passed, objects, verdictsTrue, seconds, secondsToQuiet } = result
  const { lost, wronglyDeleted, webhooksLost, duplicates, scansPerObject } = result
  print(
    `${elapsed()}  ${passed ? 'passed' : 'FAILED'}: ${result.name}: ${objects} objects, ${verdictsTrue} verdicts true, ${lost} lost, ` +
      `${wronglyDeleted} wrongly deleted, ${webhooksLost} webhooks lost, ${duplicates} duplicates, ` +
      `${scansPerObject.toFixed(2)} scans per object, quiet after ${secondsToQuiet.toFixed(1)} s, ${seconds.toFixed(0)} s in all`,
  )
  for (const problem of problems.slice(0, 15)) print(`           ${problem}`)
  if (problems.length > 15) print(`           and ${problems.length - 15} more`)
}

/** For testing/run.ts, which counts a row as a test. */
function writeCounts(passes: number, failed: readonly string[], pending: number): void {
  const file = process.env['COUNTS_FILE']
  if (file !== undefined)
    writeFileSync(
      file,
      JSON.stringify({
        passes,
        failures: failed.length,
        pending,
        failed,
        running: 'no row any more',
      }),
    )
}

async function main(): Promise<number> {
  const wanted = wantedRows()
  if (values.list) {
    for (const row of wanted)
      print(`${row.name.padEnd(34)}${row.short === true ? 'short ' : '      '}${row.title}`)
    return 0
  }
  const seed = values.seed === undefined ? randomSeed() : Number(values.seed)
  print(`seed ${seed}`)
  const results: RowResult[] = []
  for (const [index, store] of (await stores()).entries()) {
    const isSecond = index > 0
    const forStore = wanted.filter(
      ({ name }) => !values.short || !isSecond || shortOnSecond.has(name),
    )
    const here = forStore.filter((row) => {
      const why = notOn(row, store, isSecond)
      if (why !== undefined) results.push(skippedRow(row, store, why))
      return why === undefined
    })
    const groups = Map.groupBy(here, (row) => JSON.stringify(row.settings ?? {}))
    for (const group of groups.values()) {
      try {
        results.push(...(await playAll(group, store, seed)))
      } catch (error) {
        print(`FAILED: ${describeError(error)}`)
        for (const row of group)
          if (!results.some((one) => one.name === row.name && one.store === store))
            results.push({
              ...skippedRow(row, store, ''),
              problems: [describeError(error)],
            })
      }
    }
  }
  const folder = join(import.meta.dirname, 'results')
  mkdirSync(folder, { recursive: true })
  const name = values.short ? 'short' : 'full'
  const table = markdown(results)
  writeFileSync(join(folder, `${name}.md`), table)
  writeFileSync(join(folder, `${name}.json`), JSON.stringify({ seed, results }, undefined, 1))
  print(`\n${table}`)
  const skipped = results.filter((row) => row.skipped !== undefined && row.skipped !== '')
  for (const row of skipped) print(`skipped on ${row.store}: ${row.name}: ${row.skipped}`)
  const played = results.filter((row) => !skipped.includes(row))
  const failed = played.filter((row) => !row.passed)
  for (const row of failed) print(`FAILED on ${row.store}: ${row.name}: ${row.problems[0]}`)
  const objects = played.reduce((sum, row) => sum + row.objects, 0)
  print(`\n${objects} objects, ${Math.round((Date.now() - begun) / 1000)} s`)
  writeCounts(
    played.length - failed.length,
    failed.map((row) => `${row.name} on ${row.store}: ${row.problems[0]}`),
    skipped.length,
  )
  print(
    `${played.length - failed.length} passed, ${failed.length} failed, ${skipped.length} skipped`,
  )
  return failed.length === 0 && played.length > 0 ? 0 : 1
}

process.exitCode = await main()
