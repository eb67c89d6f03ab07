// kill -9 of every other part under load, and of store and broker at once.
import type { Row } from '../types.ts'
import { withReconciler } from './steps.ts'

const killUnderLoad = (part: string, rounds: number, more: Partial<Row> = {}): Row => ({
  name: `${part}-kill`,
  title: `kill -9 of the ${part}`,
  inject: async ({ parts, traffic }) => {
    for (let round = 0; round < rounds; round++) {
      await traffic.until((round + 1) / (rounds + 1))
      await parts.killAndReturn(part)
    }
  },
  ...more,
})

export const partKills: readonly Row[] = [
  killUnderLoad('notifier', 3, { rate: 20 }),
  killUnderLoad('reconciler', 3, { rate: 20, needs: withReconciler }),
  killUnderLoad('store', 2),
  killUnderLoad('broker', 1),
  {
    name: 'store-and-broker-kill',
    title: 'kill -9 of store and broker at once',
    inject: async ({ parts, traffic }) => {
      await traffic.until(0.4)
      const before = parts.restarts('store')
      parts.signalAll(['store', 'broker'], 'SIGKILL')
      await parts.ready('broker')
      if (parts.restarts('store') === before) throw new Error('the store was not restarted')
      await parts.ready('store')
    },
  },
]
