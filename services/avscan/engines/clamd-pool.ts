// The addresses of clamd and the places at each: `connections` scans at a time per address, least busy first, and as
// many as its breaker lets through. It knows neither protocol nor verdict.
import { lookup } from 'node:dns/promises'
import type { NetConnectOpts } from 'node:net'
import { toError } from '../../shared/errors.ts'
import { Breaker, defaultBreaker, type BreakerOptions, type Trial } from './breaker.ts'
import type { ClamdSession } from './clamd-session.ts'
import { reservedPlaces } from './engine.ts'
import type { Watched } from './engine-watch.ts'
import { Places } from './places.ts'

export interface Address extends Watched {
  readonly target: NetConnectOpts
  /** Why the host has no address: then this one stands for it, so that its outage is seen like any other. */
  readonly unknown: Error | undefined
  readonly idle: ClamdSession[]
  busy: number
}

/** Room for one scan at one address; to be given back, and its trial told how it ended. */
export interface Place {
  address: Address
  trial: Trial
}

export interface PoolOptions {
  socket: string
  host: string
  port: number
  connections: number
  breaker?: BreakerOptions
  resolve?: (host: string) => Promise<string[]>
}

const lookAgainMs = 10_000
const lookSoonMs = 1_000

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

  get places(): number {
    const usable = this.#addresses.filter(({ breaker }) => breaker.usable)
    return this.#options.connections * Math.max(1, usable.length)
  }

  /** Every address the host has now; a name that cannot be resolved any more keeps what it had. */
  async addresses(): Promise<readonly Address[]> {
    const isUnknown = this.#addresses.some(({ unknown }) => unknown !== undefined)
    if (performance.now() - this.#resolvedAt > (isUnknown ? lookSoonMs : lookAgainMs)) {
      this.#resolving ??= this.#resolve().finally(() => (this.#resolving = undefined))
      await this.#resolving
    }
    return this.#addresses
  }

  /**
   * Waits for a place at an address that is not in `tried` and takes it; undefined when no other address may be tried.
   * One that nothing is known to work at since its breaker opened comes only when there is no better one.
   */
  async take(tried: ReadonlySet<Address>, signal: AbortSignal): Promise<Place | undefined> {
    for (;;) {
      signal.throwIfAborted()
      const candidates = (await this.addresses()).filter((one) => !tried.has(one))
      const usable = candidates.filter(({ breaker }) => breaker.usable)
      const free = (usable.length > 0 ? usable : candidates).filter(
        ({ busy, breaker }) => busy < this.#options.connections + reservedPlaces && breaker.free,
      )
      const address = free.toSorted((a, b) => a.busy - b.busy)[0]
      if (address) {
        address.busy++
        return { address, trial: address.breaker.begin() }
      }
      if (usable.length === 0) return undefined
      await this.#places.wait(signal)
    }
  }

  giveBack(address: Address): void {
    address.busy--
    this.#places.freed()
  }

  /** Something that took no place has changed a breaker. */
  changed(): void {
    this.#places.freed()
  }

  /** Whether the host still has it: sessions of an address that is gone are not kept. */
  knows(address: Address): boolean {
    return this.#addresses.includes(address)
  }

  async #resolve(): Promise<void> {
    const { socket, host, port } = this.#options
    let targets: NetConnectOpts[] = [{ path: socket }]
    let unknown: Error | undefined
    if (socket === '') {
      try {
        const found = await (this.#options.resolve ?? everyAddress)(host)
        targets = [...new Set(found)].map((address) => ({ host: address, port }))
      } catch (error) {
        unknown = toError(error)
        targets = this.#addresses.map((one) => one.target)
        if (targets.length === 0) targets = [{ host, port }]
      }
    }
    this.#addresses = targets.map((target) => {
      const label = labelOf(target)
      const known = this.#addresses.find((one) => one.label === label)
      return known ?? this.#address(label, target, unknown)
    })
    this.#resolvedAt = performance.now()
  }

  #address(label: string, target: NetConnectOpts, unknown: Error | undefined): Address {
    return {
      label,
      target,
      unknown,
      idle: [],
      busy: 0,
      breaker: new Breaker(this.#options.breaker ?? defaultBreaker),
      canary: undefined,
      info: undefined,
    }
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
