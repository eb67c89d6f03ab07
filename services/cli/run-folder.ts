// Which folder `make clean` may empty: one that a deploy has marked as its own. RUN_DIR can name any.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FatalError } from '../shared/errors.ts'
import type { Paths } from './paths.ts'
import { readPorts } from './ports.ts'
import { say } from './say.ts'
import { removeSecrets } from './secrets.ts'
import { stopSupervision } from './supervision.ts'

const marker = '.bucket-av-scanner'
const ownEntries = new Set(
  'certs broker engine store store-audit scan log compile-cache spec.json state.json ports.json settings.json'.split(
    ' ',
  ),
)

/** @throws FatalError where a deployment would mix with what somebody keeps there. */
export function claimRunFolder({ runDir, isDefault }: Paths): void {
  if (isOurs({ runDir, isDefault })) return
  const taken = entriesOf(runDir).filter((entry) => ownEntries.has(entry))
  if (taken.length > 0)
    throw new FatalError(
      `${runDir} is no folder of a deployment, and holds ${taken.join(', ')}, which a deployment would use and make clean remove`,
      'let RUN_DIR name a folder that is not there yet',
    )
  mkdirSync(runDir, { recursive: true, mode: 0o700 })
  writeFileSync(join(runDir, marker), 'A deployment of bucket-av-scanner: make clean empties it.\n')
}

/** The default is ours by its place; a deployment of 1.0 has no marker and is known by its ports. */
function isOurs({ runDir, isDefault }: Pick<Paths, 'runDir' | 'isDefault'>): boolean {
  if (isDefault || existsSync(join(runDir, marker))) return true
  return existsSync(join(runDir, 'spec.json')) && Number.isInteger(readPorts(runDir)?.amqps)
}

/** @throws FatalError where no deploy has marked it. */
export function requireOwnFolder({ runDir, isDefault }: Paths): void {
  if (existsSync(runDir) && !isOurs({ runDir, isDefault }))
    throw new FatalError(
      `${runDir} is no folder of a deployment: nothing of it was removed`,
      'RUN_DIR has to name the folder that make deploy was given; remove others by hand',
    )
}

/**
 * Removes what a deployment has in its folder, and the folder if nothing else is in it: deployments of tests live below `.run` too,
 * and what others put there is not ours.
 */
export async function emptyRunFolder(folder: Paths): Promise<void> {
  const { runDir, toolsDir, envFile, isDefault } = folder
  // The default's are the other runtime's as well.
  const ownSecrets = isDefault ? undefined : envFile
  const left: string[] = []
  for (const entry of entriesOf(runDir)) {
    const path = join(runDir, entry)
    // `clean --tools` removes it.
    if (path === toolsDir || entry === marker) continue
    if (path === ownSecrets && removeSecrets(path).length === 0) continue
    // Tests leave theirs below the checkout's own folder, and nowhere else.
    const owner = Number(/^(?:test|deployment|build)-(\d+)(?:-|$)/.exec(entry)?.[1] ?? Number.NaN)
    const isAbandoned = isDefault && Number.isInteger(owner) && !existsSync(`/proc/${owner}`)
    if (isAbandoned) await stopSupervision(path)
    if (isAbandoned || ownEntries.has(entry)) rmSync(path, { recursive: true, force: true })
    else left.push(entry)
  }
  if (left.length > 0) say(`  left, for it is not this deployment's: ${left.join(', ')}`)
  rmSync(join(runDir, marker), { force: true })
  if (entriesOf(runDir).length === 0) rmSync(runDir, { recursive: true, force: true })
}

function entriesOf(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}
