// Where objects lie while they are scanned: a sub-folder of this process alone, purged of what dead processes left,
// and the budget of bytes that running downloads may take together.
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readdir, rm, statfs } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { describeError, FatalError, NoSpaceError } from '../shared/errors.ts'

export interface ScanFolder {
  path: string
  budget: Budget
  /** @throws NoSpaceError when the file system has less room than that; a small object is not asked for. */
  checkRoom(bytes: number): Promise<void>
  close(): Promise<void>
}

const worthAsking = 1024 * 1024

/**
 * A locked sub-folder of `parent`. The lock is a listening unix socket beside it: it dies with its process, also by kill -9 and
 * also in another container on the same volume, which a process number would not.
 * @throws FatalError when the folder cannot be used.
 */
export async function openScanFolder(parent: string, budgetBytes: number): Promise<ScanFolder> {
  const name = randomBytes(4).toString('hex')
  const path = join(parent, name)
  const lock = createServer((socket) => socket.destroy()).unref()
  try {
    await mkdir(parent, { recursive: true, mode: 0o700 })
    await purgeAbandoned(parent)
    // Locked before it exists: a purge by a neighbour must never see it unlocked.
    await new Promise<void>((resolve, reject) =>
      lock.once('error', reject).listen(`${path}.lock`, resolve),
    )
    await mkdir(path, { mode: 0o700 })
    await chmod(`${path}.lock`, 0o600)
  } catch (error) {
    lock.close()
    throw new FatalError(
      `use the scan folder ${parent}: ${describeError(error)}`,
      'SCAN_FOLDER must be a folder that this user can write to, with a path of less than 90 characters',
    )
  }
  return {
    path,
    budget: new Budget(budgetBytes),
    async checkRoom(bytes) {
      // A full file system says so when a small one is written; asking costs as much as that.
      if (bytes < worthAsking) return
      const { bavail, bsize } = await statfs(path)
      if (bavail * bsize < bytes)
        throw new NoSpaceError(
          `the scan folder ${parent} has ${bavail * bsize} bytes left, ${bytes} are needed`,
          bytes,
        )
    },
    async close() {
      await rm(path, { recursive: true, force: true })
      await new Promise((resolve) => lock.close(resolve))
    },
  }
}

async function purgeAbandoned(parent: string): Promise<void> {
  const names = (await readdir(parent)).map((entry) => entry.replace(/\.lock$/, ''))
  for (const name of new Set(names)) {
    if (!/^[0-9a-f]{8}$/.test(name)) continue
    const alive = await new Promise<boolean>((resolve) => {
      const socket = connect(join(parent, `${name}.lock`), () => {
        socket.destroy()
        resolve(true)
      }).once('error', () => resolve(false))
    })
    if (alive) continue
    await rm(join(parent, name), { recursive: true, force: true })
    await rm(join(parent, `${name}.lock`), { force: true })
  }
}

/** First come, first served. */
export class Budget {
  readonly #total: number
  #used = 0
  readonly #waiting: { bytes: number; admit: () => void }[] = []

  constructor(totalBytes: number) {
    this.#total = totalBytes
  }

  get usedBytes(): number {
    return this.#used
  }

  /** Takes the bytes at once, or says false; nobody overtakes those who wait. */
  tryReserve(bytes: number): boolean {
    if (this.#waiting.length > 0 || this.#used + bytes > this.#total) return false
    this.#used += bytes
    return true
  }

  async reserve(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (bytes > this.#total)
      throw new RangeError(`${bytes} bytes can never fit into a budget of ${this.#total}`)
    if (this.tryReserve(bytes)) return
    await new Promise<void>((resolve, reject) => {
      const entry = {
        bytes,
        admit: () => {
          signal.removeEventListener('abort', aborted)
          resolve()
        },
      }
      const aborted = () => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1)
        this.#admit()
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', aborted, { once: true })
      this.#waiting.push(entry)
    })
  }

  release(bytes: number): void {
    this.#used -= bytes
    this.#admit()
  }

  #admit(): void {
    for (
      let next = this.#waiting[0];
      next !== undefined && this.#used + next.bytes <= this.#total;
      next = this.#waiting[0]
    ) {
      this.#used += next.bytes
      this.#waiting.shift()
      next.admit()
    }
  }
}

interface Visit {
  alone: boolean
  begun: number
  enter: () => void
}

/**
 * Lets many in at a time, or one alone: an object that has killed an engine must not take its neighbours with it again. Nobody waits
 * for long for that: what kills does it soon, and what is inside for `patienceMs` may be there for minutes.
 */
export class Gate {
  readonly #patienceMs: number
  readonly #inside = new Set<Visit>()
  #waiting: Visit[] = []

  constructor({ patienceMs = 2000 } = {}) {
    this.#patienceMs = patienceMs
  }

  async run<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    const entered = Promise.withResolvers<void>()
    const visit: Visit = { alone, begun: 0, enter: entered.resolve }
    this.#waiting.push(visit)
    this.#next()
    await entered.promise
    const late = setTimeout(() => this.#next(), this.#patienceMs + 1).unref()
    try {
      return await work()
    } finally {
      clearTimeout(late)
      this.#inside.delete(visit)
      this.#next()
    }
  }

  #next(): void {
    const now = performance.now()
    const isLong = ({ begun }: Visit) => now - begun > this.#patienceMs
    for (const visit of this.#waiting) {
      const inside = [...this.#inside]
      const mayEnter = visit.alone
        ? inside.length === 0
        : inside.every((one) => !one.alone || isLong(one))
      if (mayEnter) {
        this.#waiting = this.#waiting.filter((one) => one !== visit)
        this.#inside.add(visit)
        visit.begun = now
        visit.enter()
        // Those behind one that waits to be alone wait for it, as long as what it waits for is new.
      } else if (!inside.some(isLong)) return
    }
  }
}
