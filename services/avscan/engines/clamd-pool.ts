// The addresses of clamd and the places at each: `connections` scans at a time per address, least busy first,
// an address that has just failed last. It knows neither protocol nor verdict.
import { lookup } from 'node:dns/promises'
import type { NetConnectOpts } from 'node:net'
import type { ClamdSession } from './clamd-session.ts'
import { Places } from './places.ts'

export interface Address {
  readonly label: string
  readonly target: NetConnectOpts
  readonly idle: ClamdSession[]
  busy: number
  failedAt: number
}

export interface PoolOptions {
  socket: string
  host: string
  port: number
  connections: number
  resolve?: (host: string) => Promise<string[]>
}

const lookAgainMs = 10_000
const avoidMs = 5_000

export class ClamdPool {
  readonly #options: PoolOptions
  readonly #places = new Places()
  #addresses: Address[] = []
  #resolvedAt = -Infinity
  #resolving: Promise<void> | undefined

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** What was found last. */
  get known(): readonly Address[] {
    return this.#addresses
  }

  /** Every address the host has now; a name that cannot be resolved any more keeps what it had. */
  async addresses(): Promise<readonly Address[]> {
    if (performance.now() - this.#resolvedAt > lookAgainMs) {
      this.#resolving ??= this.#resolve().finally(() => (this.#resolving = undefined))
      await this.#resolving
    }
    return this.#addresses
  }

  /**
   * Waits for a place at an address that is not in `tried` and takes it; undefined when there is no other address.
   * The place must be given back.
   */
  async take(tried: ReadonlySet<Address>, signal: AbortSignal): Promise<Address | undefined> {
    for (;;) {
      signal.throwIfAborted()
      const candidates = (await this.addresses()).filter((one) => !tried.has(one))
      if (candidates.length === 0) return undefined
      const healthy = candidates.filter((one) => performance.now() - one.failedAt > avoidMs)
      const open = (healthy.length > 0 ? healthy : candidates).filter(
        (one) => one.busy < this.#options.connections,
      )
      const best = open.toSorted((a, b) => a.busy - b.busy)[0]
      if (best) {
        best.busy++
        return best
      }
      await this.#places.wait(signal)
    }
  }

  giveBack(address: Address): void {
    address.busy--
    this.#places.freed()
  }

  /** Whether the host still has it: sessions of an address that is gone are not kept. */
  knows(address: Address): boolean {
    return this.#addresses.includes(address)
  }

  async #resolve(): Promise<void> {
    const { socket, host, port } = this.#options
    let targets: NetConnectOpts[] = [{ path: socket }]
    if (socket === '') {
      try {
        const found = await (this.#options.resolve ?? everyAddress)(host)
        targets = [...new Set(found)].map((address) => ({ host: address, port }))
      } catch (error) {
        if (this.#addresses.length === 0) throw error
        targets = this.#addresses.map((one) => one.target)
      }
    }
    this.#addresses = targets.map((target) => {
      const label = labelOf(target)
      const known = this.#addresses.find((one) => one.label === label)
      return known ?? { label, target, idle: [], busy: 0, failedAt: -Infinity }
    })
    this.#resolvedAt = performance.now()
  }
}

async function everyAddress(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map((one) => one.address)
}

function labelOf(target: NetConnectOpts): string {
  if ('path' in target) return target.path
  return target.host?.includes(':')
    ? `[${target.host}]:${target.port}`
    : `${target.host}:${target.port}`
}
