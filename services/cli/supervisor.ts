// The detached process that keeps the children of a native deployment alive: `node supervisor.ts RUN_DIR`.
// Starts them in order when the one before is ready, restarts what ends, reconciles on SIGHUP, stops in reverse on SIGTERM.
import { join } from 'node:path'
import { Child } from './child.ts'
import { openLogFile } from './log-file.ts'
import { endMarked, holdsConnection } from './processes.ts'
import { diffSpecs, readSpec, writeState, type ChildSpec } from './spec.ts'

const runDir = process.argv[2] ?? ''
const log = openLogFile(join(runDir, 'log/supervisor.log'), { maxBytes: 1024 * 1024 })
const say = (text: string) => log.write(`${new Date().toISOString()} ${text}\n`)

const children = new Map<string, Child>()
let order: readonly ChildSpec[] = []
let generation = 0
let settled = false
let stopping = false

let unreported: NodeJS.Timeout | undefined

function report(): void {
  clearTimeout(unreported)
  const states = order.flatMap(({ name }) => children.get(name)?.state ?? [])
  try {
    writeState(runDir, { pid: process.pid, generation, settled, children: states })
  } catch {
    // The disk is full: that must not end the one who starts the others again.
    unreported = setTimeout(report, 1000)
  }
}

async function reconcile(): Promise<void> {
  const spec = readSpec(runDir)
  if (spec === undefined) return say('spec.json cannot be read; nothing changes')
  const before = order
  const change = diffSpecs(before, spec.children)
  generation = spec.generation
  settled = false
  report()
  for (const { name } of change.stop) {
    say(
      `${name}: ${spec.children.some((child) => child.name === name) ? 'changed' : 'no longer wanted'}`,
    )
    await children.get(name)?.stop()
    children.delete(name)
  }
  order = spec.children
  for (const child of change.start)
    children.set(child.name, new Child(child, { runDir, say, changed: report }))
  report()
  const waits: Promise<void>[] = []
  for (const { name } of change.start) {
    if (stopping || hupped) break
    const child = children.get(name)
    if (child === undefined) continue
    if (child.spec.parallel !== true) await Promise.all(waits.splice(0))
    child.start()
    const ready = child.firstReady
    if (child.spec.parallel === true) waits.push(ready)
    else await Promise.race([ready, interrupted()])
  }
  await Promise.race([Promise.all(waits), interrupted()])
  // A second SIGHUP in the middle starts the rest in its own round.
  if (hupped || stopping) order = order.filter(({ name }) => children.get(name)?.begun === true)
  else settled = true
  for (const [name, child] of children) if (!child.begun) children.delete(name)
  report()
}

let hupped = false
let interrupt: () => void = () => {}
let interruption = new Promise<void>((resolve) => (interrupt = resolve))
const interrupted = () => interruption

/** Puts the newest spec into effect; a SIGHUP meanwhile makes it begin anew. */
async function loop(): Promise<void> {
  hupped = false
  interruption = new Promise<void>((resolve) => (interrupt = resolve))
  await reconcile()
  if (hupped && !stopping) await loop()
}

let running: Promise<void> = Promise.resolve()

process.on('SIGHUP', () => {
  hupped = true
  interrupt()
  running = running.then(() => (hupped && !stopping ? loop() : undefined))
})

async function shutDown(): Promise<void> {
  if (stopping) return
  stopping = true
  interrupt()
  clearInterval(watch)
  say('stopping')
  await running
  for (const { name } of order.toReversed()) await children.get(name)?.stop()
  // Erlang's helpers leave the process group; the marker finds them.
  await endMarked(runDir, 3000)
  say('stopped')
  log.flush()
  process.exit(0)
}
process.on('SIGTERM', () => void shutDown())
process.on('SIGINT', () => void shutDown())

const misses = new Map<string, number>()
const watch = setInterval(() => {
  for (const [name, child] of children) {
    const { holds } = child.spec
    const { phase, pid } = child.state
    if (holds === undefined || phase !== 'running' || pid === undefined) continue
    const missed = holdsConnection(pid, holds.port) ? 0 : (misses.get(name) ?? 0) + 1
    misses.set(name, missed)
    // While the other one is away a restart would only fail.
    if (missed < 2 || children.get(holds.of)?.state.phase !== 'running') continue
    say(`${name}: has no connection to ${holds.of} any more; restarting it`)
    misses.set(name, 0)
    child.restart()
  }
}, 1000)

say(`supervising ${runDir}`)
running = loop()
