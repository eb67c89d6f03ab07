// The ports of a native deployment: chosen free once, kept in RUN_DIR/ports.json, all on 127.0.0.1.
import { randomInt } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describeError, errorCode, FatalError } from '../shared/errors.ts'

export interface Ports {
  store: number
  storeConsole: number
  amqps: number
  management: number
  erlang: number
  epmd: number
  notifier: number
  reconciler: number
  /** Of the audit receiver: where the store posts, and its health. */
  audit: number
  auditHealth: number
  demo: number
  /** One per worker; grows with SCALE. */
  workers: number[]
}

const preferred: Omit<Ports, 'workers'> = {
  store: 9000,
  storeConsole: 9001,
  amqps: 5671,
  management: 15671,
  erlang: 25671,
  epmd: 14369,
  notifier: 8070,
  reconciler: 8071,
  audit: 8444,
  auditHealth: 8072,
  demo: 8099,
}
const firstWorker = 8080

export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () =>
      server.close(() => resolve(true)),
    )
  })
}

export type IsFree = (port: number) => Promise<boolean>

/** `wanted` when it is free, else a free one below the range that the kernel gives to clients. */
export async function findPort(
  wanted: number | undefined,
  taken: ReadonlySet<number>,
  isFree: IsFree = isPortFree,
): Promise<number> {
  if (wanted !== undefined && !taken.has(wanted) && (await isFree(wanted))) return wanted
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = randomInt(20_000, 32_000)
    if (!taken.has(port) && (await isFree(port))) return port
  }
  throw new FatalError('no free port between 20000 and 32000', 'stop what listens there')
}

export interface ChooseOptions {
  runDir: string
  scale: number
  /** The deployment of the checkout gets the well-known ports where they are free; those of tests do not. */
  wellKnown: boolean
  /** Ports that our own running children hold. */
  ours: ReadonlySet<number>
  isFree?: IsFree
}

/** @throws FatalError when a port kept from an earlier deploy is now held by somebody else. */
export async function choosePorts(options: ChooseOptions): Promise<Ports> {
  const { runDir, scale, wellKnown, ours, isFree = isPortFree } = options
  const kept = readPorts(runDir)
  if (kept !== undefined) await checkKept(kept, ours, isFree, runDir, scale)
  const taken = new Set(kept === undefined ? [] : listPorts(kept))
  const take = async (wanted: number | undefined) => {
    const port = await findPort(wellKnown ? wanted : undefined, taken, isFree)
    taken.add(port)
    return port
  }
  const chosen = { ...kept } as Ports
  for (const [key, wanted] of Object.entries(preferred) as [keyof typeof preferred, number][])
    chosen[key] ??= await take(wanted)
  const workers = [...(kept?.workers ?? [])]
  while (workers.length < scale) workers.push(await take(firstWorker + workers.length))
  chosen.workers = workers
  writeFileSync(join(runDir, 'ports.json'), `${JSON.stringify(chosen, undefined, 2)}\n`)
  return chosen
}

async function checkKept(
  kept: Ports,
  ours: ReadonlySet<number>,
  isFree: IsFree,
  runDir: string,
  scale: number,
): Promise<void> {
  const conflicts: string[] = []
  for (const [key, value] of Object.entries(kept)) {
    // The demo's port is only needed while the demo runs.
    if (key === 'demo') continue
    const needed = Array.isArray(value) ? value.slice(0, scale) : [value]
    for (const port of needed as number[])
      if (!ours.has(port) && !(await isFree(port))) conflicts.push(`${port} (${key})`)
  }
  if (conflicts.length > 0)
    throw new FatalError(
      `another process listens on ${conflicts.join(', ')}, which this deployment uses`,
      `stop it (ss -ltnp shows it), or delete ${join(runDir, 'ports.json')} to have other ports chosen`,
    )
}

export function listPorts(ports: Ports): number[] {
  return Object.values(ports).flat() as number[]
}

export function readPorts(runDir: string): Ports | undefined {
  try {
    return JSON.parse(readFileSync(join(runDir, 'ports.json'), 'utf8')) as Ports
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw new FatalError(
      `read ${join(runDir, 'ports.json')}: ${describeError(error)}`,
      'delete it to have other ports chosen, if the folder is a deployment of yours',
      { cause: error },
    )
  }
}
