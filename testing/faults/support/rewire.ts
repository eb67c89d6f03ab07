// Points parts of a running native deployment elsewhere (a proxy before the store, another scan folder) by changing what its
// supervisor is told; only the parts that differ are restarted.
import { readSpec, type ChildSpec } from '../../../services/cli/spec.ts'
import { applySpec } from '../../../services/cli/supervision.ts'

/** Resolves when everything is ready again. */
export type Undo = () => Promise<void>

/** The children as they are to be; one that is left out is stopped. */
export type Change = (child: ChildSpec) => ChildSpec | undefined

export function currentChildren(runDir: string): readonly ChildSpec[] {
  const spec = readSpec(runDir)
  if (spec === undefined) throw new Error(`${runDir} has no deployment`)
  return spec.children
}

/** Makes them what runs. */
export function applyChildren(runDir: string, children: readonly ChildSpec[]): Promise<void> {
  return applySpec(children, { runDir, base: { PATH: process.env['PATH'] ?? '' } })
}

/** Returns the way back to what was before. */
export async function rewire(runDir: string, change: Change): Promise<Undo> {
  const before = currentChildren(runDir)
  await applyChildren(
    runDir,
    before.flatMap((child) => change(child) ?? []),
  )
  return () => applyChildren(runDir, before)
}

/** Other environment variables for the parts whose names begin with one of `names`. */
export function withEnvironment(
  names: readonly string[],
  env: Readonly<Record<string, string>>,
): Change {
  return (child) =>
    names.some((name) => child.name.startsWith(name))
      ? { ...child, env: { ...child.env, ...env } }
      : child
}
