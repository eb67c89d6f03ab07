// Where a worker's own CPU time goes: a V8 profile, by function.
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { littleMemory } from '../../services/cli/native-plan.ts'
import type { Bench } from './bench.ts'
import { round } from './report.ts'

interface Profile {
  nodes: {
    id: number
    callFrame: { functionName: string; url: string; lineNumber: number }
  }[]
  samples: number[]
  timeDeltas: number[]
}

interface Share {
  what: string
  /** Of the time that was not idle. */
  share: number
}

/** The functions with the most time of their own, and the same by package, of every profile in the folder. */
function summarise(folder: string, most = 12): { functions: Share[]; packages: Share[] } {
  const own = new Map<string, number>()
  const packages = new Map<string, number>()
  let total = 0
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.cpuprofile'))) {
    const profile = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Profile
    const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
    for (const [index, id] of profile.samples.entries()) {
      const frame = nodes.get(id)
      const time = profile.timeDeltas[index] ?? 0
      if (frame === undefined || frame.functionName === '(idle)') continue
      total += time
      const where = placeOf(frame.url)
      const name = `${frame.functionName === '' ? '(anonymous)' : frame.functionName} ${where.file}`
      own.set(name, (own.get(name) ?? 0) + time)
      packages.set(where.package, (packages.get(where.package) ?? 0) + time)
    }
  }
  const sorted = (from: ReadonlyMap<string, number>) =>
    [...from]
      .map(([what, time]) => ({ what: what.trim(), share: time / total }))
      .toSorted((a, b) => b.share - a.share)
      .slice(0, most)
  return { functions: sorted(own), packages: sorted(packages) }
}

function placeOf(url: string): { file: string; package: string } {
  const inPackage = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(.*)$/.exec(url)
  if (inPackage !== null)
    return { file: inPackage[0].slice('node_modules/'.length), package: inPackage[1] as string }
  const own = /services\/(.*)$/.exec(url)
  if (own !== null) return { file: own[1] as string, package: 'services' }
  return { file: url, package: url === '' ? 'native code and garbage collection' : 'node' }
}

export async function profile({ stage, corpora, clamd, folder, figure }: Bench): Promise<void> {
  const place = join(folder, 'profile')
  mkdirSync(place, { recursive: true })
  const env = {
    NODE_OPTIONS: `${littleMemory.NODE_OPTIONS} --cpu-prof --cpu-prof-dir=${place}`,
  }
  const sockets = [clamd.socket]
  await stage.drain(corpora.S.files, { count: 1, sockets, env })
  // It is written when the worker ends.
  await stage.workers({ count: 0, sockets })
  const { functions, packages } = summarise(place)
  const show = (title: string, shares: readonly Share[]) => {
    for (const { what, share } of shares) figure(title, what, `${round(share * 100, 1)} %`)
  }
  show('Profile of a worker, S, by package', packages)
  show('Profile of a worker, S, by function (own time)', functions)
}
