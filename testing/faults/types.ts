// What a row of the fault suite is, and what it gets to work with. Rows are in rows/*.ts, one file per theme; run.ts runs them.
import type { StoreFlavour } from '../../services/cli/store-process.ts'
import type { NativeDeployment } from '../support/deployment.ts'
import type { Uploader } from '../support/uploader.ts'
import type { WebhookReceiver } from '../support/webhook-receiver.ts'
import type { BrokerControl } from './broker.ts'
import type { Parts } from './parts.ts'
import type { Traffic } from './traffic.ts'

/** How an object must end: `failed` is given up (tag `no`, reason 199) with its bytes untouched. */
export type Expected = 'clean' | 'infected' | 'unscannable' | 'failed'

/** One version that the store took from the application. */
export interface Upload {
  key: string
  versionId: string | undefined
  etag: string
  size: number
  sha256: string
  expected: Expected
  /** The code that its proof must carry; else any but that of what is given up. */
  reason?: number
  /** The application's own tags, which must stay. */
  tags: Readonly<Record<string, string>>
  /** The application has deleted exactly this version again: there may be no verdict, but never a false one. */
  deleted: boolean
  /** False when the store gave no answer to the upload and the version was found there afterwards. */
  answered: boolean
  /** Of the mix, for the messages: `zip with eicar`. */
  what: string
}

export interface FaultContext {
  flavour: StoreFlavour
  /** In `make test`: shorter outages, fewer rounds. */
  short: boolean
  deployment: NativeDeployment
  /** The application: S3 with the uploader's credentials. */
  uploader: Uploader
  receiver: WebhookReceiver
  /** Queues: counts, purge, publish; as the broker's administrator. */
  broker: BrokerControl
  /** Processes of the deployment: signals, readiness, log lines. */
  parts: Parts
  /** The stream of this row: `await traffic.until(0.3)`, `traffic.put(…)`, `traffic.uploads`. */
  traffic: Traffic
  /** The file of the hook in services/shared/fault.ts. */
  faultFile: string
  /** The engine's signatures: a folder for testSignatureSet; put back what was there. */
  signatures: string
  /** Waits, within a bound, until no part is away and nothing is paused. */
  recovered: () => Promise<void>
  /** A line of progress. */
  say: (text: string) => void
}

export interface Expectations {
  /** May this message be in avscan.dead afterwards? Default: none. `origin` is the queue that gave it up. */
  dead?: (message: { body: string; origin: string; reason: string }) => boolean
  /** At most so many scans per object; default: no limit, it is only shown. */
  scansPerObject?: number
  /** How long the row may take to become quiet after its fault is over; default 120 s. */
  quietMs?: number
  /** Another verdict webhook about the same version is allowed (re-scans). Default: only the same id again. */
  newIds?: boolean
}

/** Of objects that a row uploads in thousands and judges by itself: it throws unless each has its verdict. */
export interface OwnObjects {
  objects: number
  scans: number
}

export interface Row {
  /** For --only: `worker-download`. */
  name: string
  /** The fault, for people; the first column. */
  title: string
  /** Also part of the short form. */
  short?: boolean
  /** Takes minutes and shows what a smaller row shows: played only when --only names it. */
  onlyByName?: boolean
  /** Only on these stores; the others say so. Default: every store. */
  stores?: readonly StoreFlavour[]
  /** Set by rows/index.ts: played on each store, not on the first one only. */
  everyStore?: boolean
  /** Why it cannot run here; undefined when it can. */
  needs?: (context: Pick<FaultContext, 'flavour' | 'deployment' | 'parts'>) => string | undefined
  /** Settings of a deployment of its own (the environment of `make deploy`); rows with the same ones share it. */
  settings?: Readonly<Record<string, string>>
  /** Objects of the stream; default 210 or --objects. 0: the row uploads by itself with `traffic.put`. */
  objects?: number
  /** Uploads begun per second; default 40. */
  rate?: number
  /** Before the stream begins: workers that shall not see it are stopped here. */
  before?(context: FaultContext): Promise<void>
  /** Beside the stream. When it returns the fault is over, and what it stopped runs again. */
  inject(context: FaultContext): Promise<OwnObjects | void>
  /** When all is quiet and checked: what this fault promises beyond that; throws. */
  after?(context: FaultContext): Promise<void>
  expectations?: Expectations
}
