// Points parts of a running native deployment elsewhere (a proxy before the store, another scan folder) by changing what its
// supervisor is told; only the parts that differ are restarted.
import { isDeepStrictEqual } from 'node:util'
import { readSpec, type ChildSpec } from '../../../services/cli/spec.ts'
import { applySpec } from '../../../services/cli/supervision.ts'

/** Resolves when everything is ready again. */
export type Undo = () => Promise<void>

/** The children as they are to be; one that is left out is stopped. */
export type Change = (child: ChildSpec) => ChildSpec | undefined

/** Returns the way back to what was before. */
export async function rewire(runDir: string, change: Change): Promise<Undo> {
  const before = readSpec(runDir)?.children
  if (before === undefined) throw new Error(`${runDir} has no deployment`)
  const after = before.flatMap((child) => change(child) ?? [])
  const base = { PATH: process.env['PATH'] ?? '' }
  if (!isDeepStrictEqual(before, after)) await applySpec(after, { runDir, base })
  return () => applySpec(before, { runDir, base })
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
