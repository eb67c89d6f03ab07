// Makes a fake clamd give chosen replies to the objects that ask for them, once each; the canary never sees one.
import { eventually } from '../../support/eventually.ts'
import type { FakeClamd } from '../../support/fake-clamd.ts'
import type { Hostility } from '../../support/hostile-replies.ts'

export interface HostileEngine {
  /** An object with this text gets reply number `index` at its first scan. */
  marker(index: number): string
  allGiven(): Promise<void>
}

const marker = (index: number) => `hostile reply no. ${index};`

export function hostileEngine(engine: FakeClamd, replies: readonly Hostility[]): HostileEngine {
  const open = new Set(replies.keys())
  engine.hostileTo = (bytes) => {
    for (const index of open)
      if (bytes.includes(marker(index))) {
        open.delete(index)
        return replies[index]
      }
    return undefined
  }
  return {
    marker,
    allGiven: async () => {
      await eventually(
        () => {
          if (open.size > 0) throw new Error(`${open.size} replies have not been given`)
        },
        { timeoutMs: 180_000, everyMs: 200 },
      )
    },
  }
}
