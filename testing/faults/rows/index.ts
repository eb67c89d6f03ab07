// Every row, in the order in which they are played.
import type { Row } from '../types.ts'
import { badMessages } from './bad-messages.ts'
import { brokerRows } from './broker.ts'
import { brokerTroubles } from './broker-troubles.ts'
import { engineRows } from './engine.ts'
import { eventRows } from './events.ts'
import { forgedRows } from './forged.ts'
import { hostileArchiveRows } from './hostile-archives.ts'
import { hostileKeyRows } from './hostile-keys.ts'
import { hostileReplyRows } from './hostile-replies.ts'
import { lanes } from './lanes.ts'
import { largeRows } from './large.ts'
import { oneUploaderRows } from './one-uploader.ts'
import { partKills } from './part-kills.ts'
import { poisonRows } from './poison.ts'
import { receiverRows } from './receiver.ts'
import { restartRows } from './restarts.ts'
import { storeRows } from './store.ts'
import { tempFolderRows } from './temp-folder.ts'
import { workerKills } from './worker-kills.ts'

const others: readonly Row[] = [
  ...partKills,
  ...brokerRows,
  ...engineRows,
  ...receiverRows,
  ...eventRows,
  ...forgedRows,
  ...restartRows,
  ...storeRows,
  ...brokerTroubles,
  ...poisonRows,
  ...tempFolderRows,
  ...badMessages,
  ...hostileKeyRows,
  ...oneUploaderRows,
  ...hostileReplyRows,
  ...hostileArchiveRows,
  ...largeRows,
  ...lanes,
]

// Where the store, its events or its listing matter: played on every store that is there.
const storeMatters = new Set([
  'worker-event-download',
  'worker-event-tagged',
  'worker-action-deleted',
  'worker-verify',
  'reconciler-kill',
  'store-kill',
  'broker-kill',
  'store-and-broker-kill',
  'broker-restart',
  'broker-down',
  'lost-event',
  'lost-event-spool',
  'event-ten-times',
  'event-reverse',
  'null-versions',
  'null-versions-swept',
  'store-503',
  'store-slow',
  'store-full',
  'download-reset',
  'memory-alarm',
  'disk-alarm',
  'broker-hung-store-killed',
  'hostile-keys',
  'own-tags',
  'folder-keys',
  'short-keys',
  'same-key',
  'bombs-8',
])

// A worker that is killed again and again comes back later each time: a row of another kind in between lets it calm down.
export const rows: readonly Row[] = others
  .flatMap((row, index) => {
    const kill = workerKills[index]
    return kill === undefined ? [row] : [kill, row]
  })
  .map((row) => Object.assign(row, { everyStore: storeMatters.has(row.name) }))
