// A webhook receiver that is down, broken, slow, or says that it is gone.
import { setTimeout as pause } from 'node:timers/promises'
import { eventually } from '../../support/eventually.ts'
import { answers } from '../../support/webhook-receiver.ts'
import type { FaultContext, Row } from '../types.ts'

/** Until it was asked so often since now. */
async function asked(times: number, { receiver }: FaultContext): Promise<void> {
  const before = receiver.requests.length
  await eventually(() => receiver.requests.length >= before + times, { timeoutMs: 60_000 })
}

export const receiverRows: readonly Row[] = [
  {
    name: 'receiver-down',
    title: 'webhook receiver down',
    short: true,
    inject: async ({ receiver, traffic, parts }) => {
      await traffic.until(0.2)
      await receiver.down()
      await traffic.done()
      const attempts = () =>
        parts.metric('notifier', 'avscan_notifier_deliveries_total', 'outcome="failed"')
      const before = await attempts()
      await eventually(async () => (await attempts()) > before + 20, { timeoutMs: 30_000 })
      await receiver.up()
    },
  },
  {
    name: 'receiver-500',
    title: 'webhook receiver answers 500',
    inject: async (context) => {
      const { receiver, traffic } = context
      await traffic.until(0.2)
      receiver.always(answers.status(500))
      await asked(300, context)
      receiver.always(answers.status(204))
    },
  },
  {
    name: 'receiver-slow',
    title: 'webhook receiver slow, partly too slow',
    inject: async (context) => {
      const { receiver, traffic } = context
      await traffic.until(0.2)
      let turn = 0
      // The suite's time-out is two seconds.
      receiver.always((request, response) =>
        answers.late(204, turn++ % 3 === 0 ? 4000 : 500)(request, response),
      )
      await asked(60, context)
      receiver.always(answers.status(204))
      await traffic.done()
    },
  },
  {
    name: 'receiver-410',
    title: 'webhook receiver answers 410 for a while',
    inject: async (context) => {
      const { receiver, traffic } = context
      await traffic.until(0.2)
      receiver.always(answers.status(410))
      await asked(1, context)
      await traffic.done()
      // Within the pause, so that its end finds the receiver well again.
      await pause(1000)
      receiver.always(answers.status(204))
    },
  },
]
