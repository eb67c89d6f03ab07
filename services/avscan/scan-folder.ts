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

interface Waiter {
  bytes: number
  admit: () => void
}

/**
 * First come, first served; but an eighth is for small ones alone, which need not wait behind large ones (each of more than that).
 * Small ones that take more than their part wait behind a large one as well, so nobody waits for ever.
 */
export class Budget {
  readonly #total: number
  readonly #part: number
  #small = 0
  #large = 0
  #waiting: Waiter[] = []

  constructor(totalBytes: number) {
    this.#total = totalBytes
    this.#part = totalBytes / 8
  }

  get usedBytes(): number {
    return this.#small + this.#large
  }

  /** Takes the bytes at once, or says false. */
  tryReserve(bytes: number): boolean {
    return this.#take(bytes, this.#waiting)
  }

  async reserve(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (bytes > this.#total)
      throw new RangeError(`${bytes} bytes can never fit into a budget of ${this.#total}`)
    if (this.tryReserve(bytes)) return
    await new Promise<void>((resolve, reject) => {
      const waiter = {
        bytes,
        admit: () => {
          signal.removeEventListener('abort', aborted)
          resolve()
        },
      }
      const aborted = () => {
        this.#waiting = this.#waiting.filter((one) => one !== waiter)
        this.#admit()
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', aborted, { once: true })
      this.#waiting.push(waiter)
    })
  }

  release(bytes: number): void {
    if (this.#isLarge(bytes)) this.#large -= bytes
    else this.#small -= bytes
    this.#admit()
  }

  #isLarge(bytes: number): boolean {
    return bytes > this.#part
  }

  #take(bytes: number, before: readonly Waiter[]): boolean {
    if (this.usedBytes + bytes > this.#total) return false
    if (this.#isLarge(bytes)) {
      // One that needs more than the others' part leaves has all of it to itself.
      const fits = this.#large + bytes <= this.#total - this.#part || this.#large === 0
      if (before.length > 0 || !fits) return false
      this.#large += bytes
    } else {
      const mayPass =
        before.every((one) => this.#isLarge(one.bytes)) && this.#small + bytes <= this.#part
      if (before.length > 0 && !mayPass) return false
      this.#small += bytes
    }
    return true
  }

  #admit(): void {
    const left: Waiter[] = []
    for (const waiter of this.#waiting) {
      if (this.#take(waiter.bytes, left)) waiter.admit()
      else left.push(waiter)
    }
    this.#waiting = left
  }
}

interface Visit {
  alone: boolean
  cameAt: number
  begun: number
  enter: () => void
}

/**
 * Lets many in at a time, or one alone: an object that has killed an engine must not take its neighbours with it again. Nobody waits
 * for long for that: what kills does it soon, and what is inside for `patienceMs` may be there for minutes. Who has waited for
 * `aloneMs` to be alone goes in beside others.
 */
export class Gate {
  readonly #patienceMs: number
  readonly #aloneMs: number
  readonly #inside = new Set<Visit>()
  #waiting: Visit[] = []

  constructor({ patienceMs = 2000, aloneMs = 60_000 } = {}) {
    this.#patienceMs = patienceMs
    this.#aloneMs = aloneMs
  }

  async run<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    const entered = Promise.withResolvers<void>()
    const visit = { alone, cameAt: performance.now(), begun: 0, enter: entered.resolve }
    this.#waiting.push(visit)
    this.#next()
    const tired = setTimeout(() => this.#next(), this.#aloneMs + 1).unref()
    await entered.promise
    clearTimeout(tired)
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
        ? inside.length === 0 || now - visit.cameAt > this.#aloneMs
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
