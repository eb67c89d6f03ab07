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

/** Lets many in at a time, or one alone: an object that has killed an engine must not take its neighbours with it again. */
export class Gate {
  #inside = 0
  #alone = false
  readonly #waiting: { alone: boolean; enter: () => void }[] = []

  async run<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    await this.#enter(alone)
    try {
      return await work()
    } finally {
      this.#inside--
      this.#alone = false
      this.#next()
    }
  }

  #enter(alone: boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ alone, enter: resolve })
      this.#next()
    })
  }

  #next(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#alone || (next.alone && this.#inside > 0)) return
      this.#waiting.shift()
      this.#inside++
      this.#alone = next.alone
      next.enter()
    }
  }
}
