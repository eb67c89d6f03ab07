// The engine killed, hung, stopped in the middle of a scan, reloaded, and with signatures that know nothing.
import { mkdirSync, renameSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { eventually } from '../../support/eventually.ts'
import { samples, zipOf } from '../../support/samples.ts'
import { testSignatureSet, withEicar } from '../../support/signature-set.ts'
import type { FaultContext, Row } from '../types.ts'

/** Longer than the suite's engine time-out of 10 s. */
const hungMs = 15_000

let version = 100

/** Another set of signatures, which the running engine loads. */
async function reload({ signatures, parts }: FaultContext, known: Record<string, Buffer>) {
  await testSignatureSet(signatures, { version: ++version, signatures: known })
  parts.signal('engine', 'SIGUSR2')
}

const nothingKnown = { 'Something-Else': Buffer.from('no file of this row has these bytes') }

/** Takes its time to scan; the infection is the last member. */
function slowArchive(index: number): Buffer {
  const members = Array.from({ length: 40 }, (_, member) => ({
    name: `${index}-${member}.bin`,
    bytes: samples.large(500_000),
  }))
  return zipOf([...members, { name: `${index}.com`, bytes: samples.eicar() }])
}

async function engineAway(context: FaultContext, during: () => Promise<void>): Promise<void> {
  const { parts } = context
  await parts.killAndReturn('engine')
  await during()
}

export const engineRows: readonly Row[] = [
  {
    name: 'clamd-kill',
    title: 'kill -9 of clamd',
    short: true,
    rate: 30,
    inject: async ({ parts, traffic }) => {
      for (const share of [0.2, 0.4, 0.6]) {
        await traffic.until(share)
        await parts.killAndReturn('engine')
      }
    },
  },
  {
    name: 'clamd-term',
    title: 'SIGTERM of clamd in the middle of an infected scan',
    rate: 30,
    inject: async (context) => {
      const { parts, traffic } = context
      for (let index = 0; index < 4; index++) {
        const archive = slowArchive(index)
        await traffic.until(0.2 * index)
        const sent = traffic.put(`slow-${index}.zip`, archive, 'infected')
        const scanning = async () => {
          for (const worker of parts.workers()) {
            const reserved = await parts.metric(worker, 'avscan_scan_folder_reserved_bytes')
            if (reserved > archive.length / 2) return true
          }
          return false
        }
        await eventually(scanning, { timeoutMs: 30_000, everyMs: 5 })
        // Once while it arrives, once while it is scanned, and so on.
        await pause(index * 60)
        await parts.killAndReturn('engine', 'SIGTERM')
        await sent
      }
    },
  },
  {
    name: 'clamd-hung',
    title: 'clamd hung for longer than the timeout',
    inject: async ({ parts, traffic }) => {
      await traffic.until(0.3)
      parts.signal('engine', 'SIGSTOP')
      await pause(hungMs)
      parts.signal('engine', 'SIGCONT')
    },
  },
  {
    name: 'signature-reload',
    title: 'signature reload under load, ten times',
    rate: 20,
    inject: async (context) => {
      for (let round = 1; round <= 10; round++) {
        await context.traffic.until(round / 12)
        const extra = { [`Extra-${round}`]: Buffer.from(`never to be found ${round}`) }
        await reload(context, withEicar(extra))
      }
    },
  },
  {
    name: 'wrong-signatures',
    title: 'clamd with a signature set that does not know EICAR',
    rate: 20,
    inject: async (context) => {
      const { parts, traffic } = context
      await traffic.until(0.3)
      await reload(context, nothingKnown)
      // Beyond what was judged before: nothing gets a verdict from such an engine.
      await eventually(
        async () => {
          const troubles = (await parts.troubles()).filter((text) => text.startsWith('avscan-'))
          return troubles.length === parts.workers().length
        },
        { timeoutMs: 60_000, everyMs: 200 },
      )
      await traffic.done()
      await reload(context, withEicar({}))
    },
  },
  {
    name: 'wrong-signatures-restart',
    title: 'clamd restarted with a wrong set, and then with none',
    rate: 20,
    inject: async (context) => {
      const { parts, signatures, traffic } = context
      await traffic.until(0.3)
      await testSignatureSet(signatures, { version: ++version, signatures: nothingKnown })
      await engineAway(context, () => traffic.until(0.6))
      // Without any file clamd does not start at all.
      renameSync(signatures, `${signatures}.away`)
      mkdirSync(signatures)
      parts.signal('engine', 'SIGKILL')
      await traffic.done()
      await testSignatureSet(signatures, { version: ++version })
      await parts.ready('engine')
    },
  },
]
