// What every part of the bench works with: the deployment, the files, an engine, and where its figures go.
import type { Corpus, CorpusName } from './corpus.ts'
import type { BenchClamd } from './engine.ts'
import type { Results } from './report.ts'
import type { Stage } from './stage.ts'

export interface Sizes {
  /** Files of each corpus. */
  S: number
  MIX: number
  L: number
  rounds: number
  /** Uploads whose latency is measured. */
  latency: number
  memorySeconds: number
  /** Objects of 100 MB at once, and parts of 100 MB of the largest object. */
  atOnce: number
  parts: number
  /** Objects for each worker in front of the sleeping engine. */
  sleeping: number
  /** Messages in the queue. */
  backlogs: readonly number[]
  /** Objects in the bucket, one after the other. */
  buckets: readonly number[]
  /** Objects that are measured in front of a backlog. */
  front: number
}

export type SignatureSet = 'EICAR' | 'large'

export interface Bench {
  mode: 'quick' | 'normal' | 'full'
  sizes: Sizes
  stage: Stage
  corpora: Readonly<Record<CorpusName, Corpus>>
  /** With EICAR alone. */
  clamd: BenchClamd
  startEngine: (set: SignatureSet) => Promise<BenchClamd>
  clamdscanProgram: string
  /** On tmpfs; removed at the end. */
  folder: string
  results: Results
  say: (text: string) => void
  figure: (section: string, name: string, value: string) => void
  target: (name: string, measured: string, wanted: string, met: boolean, why?: string) => void
}
