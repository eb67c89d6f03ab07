// Puts what the store keeps onto a small file system, and back again, while nothing else of the deployment is touched.
import { execFileSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Layout } from '../../../services/cli/layout.ts'
import type { ChildSpec } from '../../../services/cli/spec.ts'
import { applyChildren, currentChildren, type Undo } from './rewire.ts'
import { mountSmallVolume, type SmallVolume } from './small-volume.ts'

/** With all attributes: VersityGW keeps its metadata in them. */
const copy = (from: string, to: string) =>
  execFileSync('cp', ['--archive', `${from}/.`, to], { stdio: 'pipe' })

/** What it takes on disk, with room for a file system that takes more for many small files. */
function usedBytes(folder: string): number {
  const [used] = execFileSync('du', ['--summarize', '--block-size=1', folder], { encoding: 'utf8' })
    .trim()
    .split(/\s/)
  return Math.ceil(Number(used) * 1.3)
}

/** `runDir`'s store on a volume that has so much room besides what it holds; `moveBack` brings what it holds by then back to where it was. */
export async function moveStore(
  runDir: string,
  layout: Pick<Layout, 'store'>,
  bytes: number,
): Promise<{ volume: SmallVolume; moveBack: Undo }> {
  const path = join(runDir, 'small-store')
  const elsewhere = (text: string) => text.replaceAll(`${layout.store}/`, `${path}/`)
  const before = currentChildren(runDir)
  const others = before.filter(({ name }) => name !== 'store')
  const moved = before.map((child) => {
    if (child.name !== 'store') return child
    const env = Object.entries(child.env).map(([name, value]) => [name, elsewhere(value)])
    return {
      ...child,
      command: child.command.map(elsewhere),
      env: Object.fromEntries(env) as Record<string, string>,
    }
  })
  const move = async (from: string, to: string, children: readonly ChildSpec[]) => {
    await applyChildren(runDir, others)
    copy(from, to)
    await applyChildren(runDir, children)
  }
  // Rows before have left more in it in a whole run than in one of its own.
  const volume = mountSmallVolume(path, usedBytes(layout.store) + bytes)
  try {
    await move(layout.store, path, moved)
  } catch (error) {
    volume.remove()
    await applyChildren(runDir, before)
    throw error
  }
  return {
    volume,
    moveBack: async () => {
      volume.drain()
      try {
        await applyChildren(runDir, others)
        for (const entry of readdirSync(layout.store))
          rmSync(join(layout.store, entry), { recursive: true })
        await move(path, layout.store, before)
      } finally {
        volume.remove()
      }
    },
  }
}
