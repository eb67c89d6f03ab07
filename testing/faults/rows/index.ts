// Every row, in the order in which they are played.
import type { Row } from '../types.ts'
import { workerKills } from './worker-kills.ts'

export const rows: readonly Row[] = [...workerKills]
