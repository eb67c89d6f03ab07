// Runs the test suites one after the other and ends with `N passed, N failed, N skipped`.
// Usage: node testing/run.ts [suite …]; without names all of them, the static checks first.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { globSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installPrograms } from '../services/cli/native.ts'
import { findPaths } from '../services/cli/paths.ts'
import { describeError } from '../services/shared/errors.ts'
import type { Counts } from './support/reporter.ts'

const root = new URL('..', import.meta.url).pathname
const bin = (name: string) => join(root, 'node_modules', '.bin', name)

interface Suite {
  name: string
  /** Of each test. */
  timeoutMs?: number
  /** A program that counts by itself, instead of mocha with the suite's folder. */
  program?: readonly string[]
  /** The whole suite is ended after this many minutes: a test that leaves a handle open must not hang CI. */
  minutes: number
}

const suites: Suite[] = [
  { name: 'unit', minutes: 2, timeoutMs: 5_000 },
  { name: 'integration', minutes: 20, timeoutMs: 60_000 },
  { name: 'acceptance', minutes: 10, timeoutMs: 120_000 },
  { name: 'faults', minutes: 10, program: ['testing/faults/run.ts', '--short'] },
  { name: 'compose', minutes: 25, timeoutMs: 120_000 },
]

/** As `timeout` says it. */
const tooLong = 124

const checks: [string, string, string[]][] = [
  ['type check', 'tsc', []],
  ['lint', 'oxlint', ['services', 'testing']],
  ['format', 'oxfmt', ['--check', 'services', 'testing']],
]

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter(
    (name) => name !== 'check' && !suites.some((suite) => suite.name === name),
  )
  if (unknown.length > 0) {
    process.stderr.write(
      `no suite named ${unknown.join(', ')}; there are check, ${suites.map((suite) => suite.name).join(', ')}\n`,
    )
    return 2
  }
  const wanted = (name: string) => names.length === 0 || names.includes(name)
  const folder = mkdtempSync(join(tmpdir(), 'avscan-tests-'))
  const countsFile = join(folder, 'counts')
  const begun = Date.now()
  let [passed, failed, skipped] = [0, 0, 0]
  // Said again at the end: the place where it happened is thousands of lines up.
  const failures: string[] = []
  let isPrepared = false

  try {
    if (wanted('check')) {
      for (const [title, command, args] of checks) {
        const good = (await run(bin(command), args, {})) === 0
        process.stdout.write(`${good ? 'passed' : 'FAILED'}: ${title}\n`)
        if (good) passed++
        else {
          failed++
          failures.push(title)
        }
      }
    }
    for (const { name, timeoutMs = 0, program, minutes } of suites) {
      const files = globSync(`testing/${name}/**/*.test.ts`, { cwd: root }).toSorted()
      if (!wanted(name) || (files.length === 0 && program === undefined)) continue
      process.stdout.write(`\n── ${name} ──\n`)
      if (name !== 'unit' && !isPrepared) {
        isPrepared = true
        const troubles = await prepare()
        // Skipped tests would hide that a store is missing.
        if (process.env['STORE_TESTS'] === 'required') {
          failed += troubles.length
          failures.push(...troubles)
        }
      }
      rmSync(countsFile, { force: true })
      const code = await run(
        process.execPath,
        program ?? [
          bin('mocha'),
          '--forbid-only',
          '--timeout',
          String(timeoutMs),
          '--reporter',
          join(root, 'testing/support/reporter.ts'),
          ...files,
        ],
        { COUNTS_FILE: countsFile },
        minutes,
      )
      const counts = readCounts(countsFile)
      passed += counts.passes
      skipped += counts.pending
      // A runner that died before it could count has failed as well.
      const died =
        code === tooLong ||
        (counts.failures === 0 && (code !== 0 || counts.passes + counts.pending === 0))
      failed += counts.failures + (died ? 1 : 0)
      failures.push(...counts.failed.map((line) => `${name}: ${line}`))
      if (died)
        failures.push(`${name}: ended with exit code ${code}; it was running ${counts.running}`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  for (const line of failures) process.stdout.write(`\nfailed: ${line}`)
  process.stdout.write(
    `\n${Math.round((Date.now() - begun) / 1000)} s\n${passed} passed, ${failed} failed, ${skipped} skipped\n`,
  )
  return failed === 0 && passed > 0 ? 0 : 1
}

/** What the suites with real servers need; where it cannot be had they skip with the reason, which is returned. */
async function prepare(): Promise<string[]> {
  const troubles: string[] = []
  for (const flavour of ['minio', 'versitygw'] as const)
    try {
      const choice = { flavour, why: 'tests run on both', isFree: false }
      await installPrograms(findPaths({}).toolsDir, choice)
    } catch (error) {
      troubles.push(`${flavour}: ${describeError(error)}`)
    }
  for (const trouble of troubles) process.stdout.write(`${trouble}\n`)
  return troubles
}

function readCounts(file: string): Counts {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Counts
  } catch {
    return { passes: 0, failures: 0, pending: 0, failed: [], running: 'nothing yet' }
  }
}

function run(
  command: string,
  args: readonly string[],
  env: Record<string, string>,
  minutes = 10,
): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...env },
    })
    let isLate = false
    const deadline = setTimeout(() => {
      isLate = true
      process.stderr.write(`ended after ${minutes} minutes: ${command} ${args[0] ?? ''}\n`)
      child.kill('SIGKILL')
    }, minutes * 60_000)
    child.once('error', (error) => {
      process.stderr.write(`${command}: ${error.message}\n`)
      clearTimeout(deadline)
      resolve(1)
    })
    child.once('exit', (code, signal) => {
      clearTimeout(deadline)
      resolve(isLate ? tooLong : signal === null ? (code ?? 1) : 1)
    })
  })
}

process.exitCode = await main(process.argv.slice(2))
