// Every row, in the order in which they are played.
import type { Row } from '../types.ts'
import { brokerRows } from './broker.ts'
import { brokerTroubles } from './broker-troubles.ts'
import { engineRows } from './engine.ts'
import { eventRows } from './events.ts'
import { lanes } from './lanes.ts'
import { partKills } from './part-kills.ts'
import { poisonRows } from './poison.ts'
import { receiverRows } from './receiver.ts'
import { restartRows } from './restarts.ts'
import { storeRows } from './store.ts'
import { tempFolderRows } from './temp-folder.ts'
import { workerKills } from './worker-kills.ts'

export const rows: readonly Row[] = [
  ...workerKills,
  ...partKills,
  ...brokerRows,
  ...engineRows,
  ...receiverRows,
  ...eventRows,
  ...restartRows,
  ...storeRows,
  ...brokerTroubles,
  ...poisonRows,
  ...tempFolderRows,
  ...lanes,
]
