// Objects a second out of a filled queue, beside what the engine's own client and the bare loop reach with the same files.
import { cpus } from 'node:os'
import type { Bench, SignatureSet } from './bench.ts'
import type { Corpus } from './corpus.ts'
import { clamdscan, type BenchClamd } from './engine.ts'
import { median, round, type Bar } from './report.ts'
import type { Drain, Workers } from './stage.ts'

/** As many scans at a time as a worker alone has in the deployed stack on two cores, and one for the road. */
const bareSessions = 4

const rates = (drains: readonly Drain[]) => median(drains.map(({ rate }) => rate))
const cpuOf = (drains: readonly Drain[], part: string) =>
  median(drains.map(({ cpu }) => cpu[part] ?? 0))

export async function drains(bench: Bench): Promise<void> {
  const { mode } = bench
  for (const set of ['EICAR', 'large'] as const) {
    const clamd = set === 'EICAR' ? bench.clamd : await bench.startEngine('large')
    for (const name of ['S', 'MIX', 'L'] as const) {
      const isMain = name === (set === 'large' ? 'MIX' : 'S')
      const isQuick = isMain || (name === 'L' && set === 'EICAR')
      if (mode !== 'quick' || isQuick)
        await compare(bench, bench.corpora[name], set, clamd, isMain || mode === 'full')
    }
  }
}

/** One corpus with one signature set: both yardsticks and ours, interleaved. */
async function compare(
  bench: Bench,
  corpus: Corpus,
  set: SignatureSet,
  clamd: BenchClamd,
  whole: boolean,
): Promise<void> {
  const { stage, sizes, mode } = bench
  const { name, files } = corpus
  const section = `${name}, ${set === 'EICAR' ? 'EICAR only' : 'large signatures'}`
  const plans = await plansFor(bench, set, clamd, whole)
  const limits: number[] = []
  const bare: Drain[] = []
  const ours = new Map<string, Drain[]>(plans.map(([title]) => [title, []]))
  const rounds = whole || (name === 'L' && set === 'EICAR') ? sizes.rounds : 1
  for (let at = 0; at < rounds; at++) {
    limits.push(files.length / (await clamdscan(bench.clamdscanProgram, clamd.conf, corpus.folder)))
    if (name !== 'L') bare.push(await stage.bare(files, clamd.socket, bareSessions))
    for (const [title, workers] of plans)
      if (mode !== 'quick' || at === 0 || workers.count === 1)
        ours.get(title)?.push(await stage.drain(files, workers))
    bench.say(`${section}: round ${at + 1} of ${rounds}`)
  }
  const single = ours.get('1 worker') ?? []
  report(bench, corpus, section, { limits, bare, ours })
  const best = Math.max(...[...ours.values()].map(rates))
  const [limit, bareRate] = [median(limits), rates(bare)]
  if (name === 'MIX' && set === 'large') {
    const rest = ['store', 'broker', 'worker'].reduce((sum, part) => sum + cpuOf(single, part), 0)
    bench.target(
      'MIX, large signatures: ours / clamdscan',
      round(best / limit, 2),
      '≥ 0.85',
      best / limit >= 0.85,
      `clamdscan has both cores for the engine; here store, broker and worker take ${round(rest, 1)} ms of them for an object that costs clamd ${round(cpuOf(single, 'clamd'), 1)} ms`,
    )
  }
  if (name === 'S' && set === 'EICAR') {
    const [own, yardstick] = [cpuOf(single, 'worker'), cpuOf(bare, 'worker')]
    bench.target(
      'S, EICAR only: ours / bare loop',
      round(best / bareRate, 2),
      '≥ 0.85',
      best / bareRate >= 0.85,
      `an object costs the worker ${round(own, 2)} ms of CPU and the bare loop ${round(yardstick, 2)} ms, on ${cpus().length} cores that store, broker and clamd share`,
    )
    bench.target(
      'worker CPU per S object',
      `${round(own, 2)} ms`,
      '≤ 0.9 ms',
      own <= 0.9,
      `the bare loop, which does nothing but the two requests, the scan and the ack, takes ${round(yardstick, 2)} ms here`,
    )
  }
  if (name === 'L' && set === 'EICAR') {
    const engine = cpuOf(single, 'clamd')
    const rest = ['store', 'broker', 'worker'].reduce((sum, part) => sum + cpuOf(single, part), 0)
    bench.target(
      'L: ours / clamdscan in bytes/s',
      round(best / limit, 2),
      '≥ 0.95',
      best / limit >= 0.95,
      `100 MB cost clamd ${round(engine)} ms and the way from the store to it, TLS and hash included, ${round(rest)} ms; clamdscan passes a file descriptor. Of the same cores that leaves at most ${round(engine / (engine + rest), 2)}`,
    )
  }
}

async function plansFor(
  bench: Bench,
  set: SignatureSet,
  { socket }: BenchClamd,
  whole: boolean,
): Promise<[string, Workers][]> {
  const one = [socket]
  const plans: [string, Workers][] = [['1 worker', { count: 1, sockets: one }]]
  if (!whole) return plans
  plans.push(['2 workers', { count: 2, sockets: one }], ['4 workers', { count: 4, sockets: one }])
  if (bench.mode === 'quick') return plans
  const second = await bench.startEngine(set)
  const env = { ENGINE_CONNECTIONS: '2' }
  plans.push(['2 workers, 2 clamd', { count: 2, sockets: [socket, second.socket], env }])
  return plans
}

function report(
  { figure, results }: Bench,
  { name, files, bytes }: Corpus,
  section: string,
  found: { limits: number[]; bare: Drain[]; ours: Map<string, Drain[]> },
): void {
  const show = (rate: number) =>
    name === 'L'
      ? `${round((rate * bytes) / files.length / 1e6)} MB/s`
      : `${round(rate, rate < 100 ? 1 : 0)} objects/s`
  const limit = median(found.limits)
  const bars: Bar[] = [{ label: 'clamdscan', value: limit }]
  figure(section, 'clamdscan --fdpass --multiscan', show(limit))
  const bareRate = rates(found.bare)
  if (found.bare.length > 0) {
    const cpu = round(cpuOf(found.bare, 'worker'), 2)
    figure(section, 'bare loop', `${show(bareRate)}; CPU ms each: Node ${cpu}`)
    bars.push({ label: 'bare loop', value: bareRate })
  }
  for (const [title, drained] of found.ours) {
    const rate = rates(drained)
    const shares = [`${round((100 * rate) / limit)} % of clamdscan`]
    if (found.bare.length > 0) shares.push(`${round((100 * rate) / bareRate)} % of the bare loop`)
    const cpu = Object.keys(drained[0]?.cpu ?? {}).map(
      (part) => `${part} ${round(cpuOf(drained, part), 2)}`,
    )
    figure(
      section,
      `ours, ${title}`,
      `${show(rate)} (${shares.join(', ')}); CPU ms each: ${cpu.join(', ')}`,
    )
    bars.push({ label: `ours, ${title}`, value: rate })
  }
  results.drains.push({ title: `${section}: objects/s`, bars })
}
