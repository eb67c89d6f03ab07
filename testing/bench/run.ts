// `make bench`: how close the pipeline comes to its engine, measured side by side in one run.
// Settings: QUICK=1 (smaller counts, under four minutes), FULL=1 (the whole matrix), SECTIONS=drains,latency (only these),
// STORE_FLAVOUR=versitygw (instead of MinIO).
// Writes testing/bench/results/<quick|normal|full>.{md,json,svg}. A target that is not met is no error: the table says so.
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { findPaths } from '../../services/cli/paths.ts'
import { maxObjectBytes } from '../../services/shared/config-schema.ts'
import { backlog } from './backlog.ts'
import type { Bench, SignatureSet, Sizes } from './bench.ts'
import { makeCorpus } from './corpus.ts'
import { drains } from './drains.ts'
import { findClamdscan, startBenchClamd, type BenchClamd } from './engine.ts'
import { engineSizes } from '../../services/cli/settings.ts'
import { latencies } from './latency.ts'
import { memory } from './memory.ts'
import { plot } from './plot.ts'
import { profile } from './profile.ts'
import { figuresTable, targetsTable, type Results } from './report.ts'
import { scaleOut } from './scale-out.ts'
import { tlsCost } from './tls-cost.ts'
import { largeSignatures, officialSize } from './signatures.ts'
import { openStage } from './stage.ts'

const flag = (name: string) => !['', '0', undefined].includes(process.env[name])
const mode = flag('QUICK') ? 'quick' : flag('FULL') ? 'full' : 'normal'

const sizes: Record<Bench['mode'], Sizes> = {
  quick: {
    S: 600,
    MIX: 120,
    L: 2,
    rounds: 1,
    latency: 100,
    memorySeconds: 8,
    atOnce: 4,
    parts: 3,
    sleeping: 30,
    backlogs: [1, 2_000],
    buckets: [500],
    front: 300,
  },
  normal: {
    S: 1600,
    MIX: 250,
    L: 4,
    rounds: 3,
    latency: 400,
    memorySeconds: 180,
    atOnce: 8,
    parts: 10,
    sleeping: 80,
    backlogs: [1, 10_000, 100_000],
    buckets: [1_000, 10_000],
    front: 1000,
  },
  full: {
    S: 2500,
    MIX: 400,
    L: 6,
    rounds: 3,
    latency: 400,
    memorySeconds: 600,
    atOnce: 8,
    parts: 10,
    sleeping: 80,
    backlogs: [1, 10_000, 100_000],
    buckets: [1_000, 100_000],
    front: 1000,
  },
}
/** Where the time is short, a fortieth of the hashes: they cost memory and time to load, and hardly any to scan. */
const setSize = mode === 'quick' ? { ...officialSize, hashes: 200_000 } : officialSize

const sections: Record<string, (bench: Bench) => Promise<void>> = {
  drains,
  latency: latencies,
  memory,
  'scale-out': scaleOut,
  backlog,
  profile,
  tls: tlsCost,
}

const begun = Date.now()
const seconds = () => Math.round((Date.now() - begun) / 1000)
const say = (text: string) => process.stdout.write(`${String(seconds()).padStart(5)} s  ${text}\n`)
const kept = join(findPaths({}).runDir, 'bench')
const folder = join(existsSync('/dev/shm') ? '/dev/shm' : kept, `avscan-bench-${process.pid}`)

async function main(): Promise<void> {
  const wanted = process.env['SECTIONS']?.split(',') ?? Object.keys(sections)
  const unknown = wanted.filter((name) => sections[name] === undefined)
  if (unknown.length > 0)
    throw new Error(
      `no section ${unknown.join(', ')}; there are ${Object.keys(sections).join(', ')}`,
    )
  const flavour = process.env['STORE_FLAVOUR'] === 'versitygw' ? 'versitygw' : 'minio'
  const processor = `${cpus().length} × ${cpus()[0]?.model.trim()}`
  const store = flavour === 'minio' ? 'MinIO' : 'VersityGW'
  const day = new Date().toISOString().slice(0, 10)
  const machine = `${processor}, ${Math.round(totalmem() / 2 ** 30)} GiB; ${store}; ${day}; ${mode}`
  say(machine)
  const results: Results = { figures: [], targets: [], drains: [], scaleOut: [] }
  const clamdscanProgram = await findClamdscan()
  const engines: BenchClamd[] = []
  // On tmpfs where there is one: the pipeline is measured, not this machine's disk.
  const stage = await openStage(flavour, join(folder, 'run'))
  const startEngine = async (set: SignatureSet) => {
    say(`starting an engine with the ${set} signatures`)
    const engine = await startBenchClamd({
      folder: join(folder, `clamd-${engines.length}`),
      databases:
        set === 'EICAR'
          ? join(stage.parts.layout.signatures, 'test')
          : await largeSignatures(kept, setSize),
      maxObjectBytes: maxObjectBytes(stage.config),
      threads: engineSizes(1).threads,
    })
    engines.push(engine)
    stage.engines.set(engine.socket, engine.pid)
    return engine
  }
  try {
    const make = (name: 'S' | 'MIX' | 'L') =>
      makeCorpus(name, sizes[mode][name], join(folder, 'files'))
    const bench: Bench = {
      mode,
      sizes: sizes[mode],
      stage,
      corpora: { S: make('S'), MIX: make('MIX'), L: make('L') },
      clamd: await startEngine('EICAR'),
      startEngine,
      clamdscanProgram,
      folder,
      results,
      say,
      figure: (section, name, value) => {
        results.figures.push({ section, name, value })
        say(`${section}: ${name}: ${value}`)
      },
      target: (name, measured, target, met, why) => {
        results.targets.push({ name, measured, target, met, ...(why === undefined ? {} : { why }) })
      },
    }
    for (const name of wanted) await sections[name]?.(bench)
  } finally {
    await stage.close()
    for (const engine of engines) await engine.close()
    rmSync(folder, { recursive: true, force: true })
  }
  write(machine, results)
}

function write(machine: string, results: Results): void {
  const out = join(import.meta.dirname, 'results')
  mkdirSync(out, { recursive: true })
  const [all, closing] = [figuresTable(results.figures), targetsTable(results.targets)]
  writeFileSync(join(out, `${mode}.md`), [machine, '', closing, '', all].join('\n'))
  const data = { machine, seconds: seconds(), ...results }
  writeFileSync(join(out, `${mode}.json`), `${JSON.stringify(data, undefined, 1)}\n`)
  writeFileSync(join(out, `${mode}.svg`), plot(results))
  process.stdout.write(`\n${all}\n${closing}\n\n${machine}; ${seconds()} s\n`)
}

await main()
