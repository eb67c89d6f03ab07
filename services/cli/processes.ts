// Finds and ends processes of one deployment on Linux, also those that left their process group or lost their supervisor.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Every process of a deployment carries this variable with the absolute RUN_DIR. */
export const marker = 'AVSCAN_RUN_DIR'

/** Pids whose environment says that they belong to `runDir`, without this process itself. */
export function findMarked(runDir: string): number[] {
  const wanted = `${marker}=${runDir}`
  return listPids().filter((pid) => {
    if (pid === process.pid) return false
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(wanted)
    } catch {
      return false
    }
  })
}

/** Is `pid` a live process (not a zombie) that belongs to `runDir`? Pids are reused, so the marker decides. */
export function isMarked(pid: number, runDir: string): boolean {
  try {
    const state = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '')[0]
    return (
      state !== 'Z' &&
      readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${marker}=${runDir}`)
    )
  } catch {
    return false
  }
}

export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // already gone
  }
}

/** SIGTERM, then SIGKILL, to everything that is marked; resolves when nothing is left. */
export async function endMarked(runDir: string, graceMs: number): Promise<number> {
  const ended = new Set<number>()
  const deadline = Date.now() + graceMs
  for (let round = 0; ; round++) {
    const pids = findMarked(runDir)
    if (pids.length === 0 || Date.now() > deadline + 10_000) return ended.size
    for (const pid of pids) {
      const first = !ended.has(pid)
      ended.add(pid)
      if (Date.now() > deadline) sendSignal(pid, 'SIGKILL')
      else if (first) sendSignal(pid, 'SIGTERM')
    }
    await sleep(round === 0 ? 50 : 200)
  }
}

/** Does `pid` hold an established TCP connection to `port` on this machine? */
export function holdsConnection(pid: number, port: number): boolean {
  const inodes = new Set<string>()
  const remote = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  for (const table of ['tcp', 'tcp6']) {
    let lines: string[] = []
    try {
      lines = readFileSync(`/proc/${pid}/net/${table}`, 'utf8').split('\n')
    } catch {
      continue
    }
    for (const line of lines) {
      const fields = line.trim().split(/\s+/)
      if (fields[2]?.endsWith(remote) === true && fields[3] === '01' && fields[9] !== undefined)
        inodes.add(fields[9])
    }
  }
  if (inodes.size === 0) return false
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]
        return inode !== undefined && inodes.has(inode)
      } catch {
        return false
      }
    })
  } catch {
    return false
  }
}

function listPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}
