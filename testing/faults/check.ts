// The invariants, over every version that the store took and every webhook.
import { otherReason, Proofs, proofOptions } from '../../services/shared/proven.ts'
import type { Config } from '../../services/shared/config-schema.ts'
import { describeError, ObjectGoneError } from '../../services/shared/errors.ts'
import type { ObjectFacts, ObjectStore } from '../../services/shared/object-store.ts'
import type { Uploader } from '../support/uploader.ts'
import { sha256 } from './mix.ts'
import type { Expected, Upload } from './types.ts'
import { accepted, meaningOf, outcomeOf, samePlace, type Webhooks } from './webhooks.ts'

export interface Tally {
  objects: number
  verdictsTrue: number
  lost: number
  wronglyDeleted: number
  wrongVerdicts: number
  webhooksLost: number
  duplicates: number
  /** Every broken promise in words; none is the only good number. */
  problems: string[]
  /** The objects with a problem. */
  troubled: Upload[]
}

export interface CheckOptions {
  /** Reads as the scanner does. */
  store: ObjectStore
  config: Config
  uploader: Uploader
  webhooks: Webhooks
  /** See Expectations. */
  newIds: boolean
}

const tagOf: Record<Expected, string> = {
  clean: 'clean',
  infected: 'infected',
  unscannable: 'no',
  failed: 'no',
}
function hasReason(found: number, { expected, reason }: Upload): boolean {
  return reason === undefined
    ? (expected === 'failed') === (found === otherReason)
    : found === reason
}

export function createCheck(options: CheckOptions) {
  const { store, uploader, webhooks, config } = options
  const proofs = new Proofs(store, proofOptions(config))
  const { bucket } = uploader

  const present = async (upload: Upload): Promise<ObjectFacts | undefined> => {
    try {
      return await store.head({ bucket, key: upload.key, versionId: upload.versionId })
    } catch (error) {
      if (error instanceof ObjectGoneError) return undefined
      throw error
    }
  }

  const proven = ({ key }: Upload, facts: ObjectFacts) => proofs.proven({ bucket, key, facts })

  function checkWebhooks(upload: Upload, tally: Tally, say: (text: string) => void): void {
    const { verdicts, deleted } = webhooks.of(upload)
    for (const request of verdicts)
      if (outcomeOf(request) !== upload.expected) {
        tally.wrongVerdicts++
        say(`a webhook says ${outcomeOf(request)}`)
      }
    for (const { body } of verdicts) {
      const { scan } = body.data
      if (scan !== undefined && (scan.sha256 !== upload.sha256 || scan.bytes !== upload.size))
        say(`a webhook is about other bytes (${scan.bytes}, sha256 ${scan.sha256})`)
    }
    const taken = verdicts.filter(accepted)
    const ids = new Set(verdicts.map(({ id }) => id))
    tally.duplicates += Math.max(0, taken.length - new Set(taken.map(({ id }) => id)).size)
    if (ids.size > 1 && !options.newIds) say(`${ids.size} verdict webhooks with different ids`)
    for (const id of ids) {
      const meanings = new Set(verdicts.filter((one) => one.id === id).map(meaningOf))
      if (meanings.size > 1) say(`webhooks with the same id say ${[...meanings].join(' and ')}`)
    }
    const done = deleted.filter(accepted)
    tally.duplicates += Math.max(0, done.length - 1)
    if (new Set(deleted.map(({ id }) => id)).size > 1) say('object.deleted with different ids')
    if (upload.deleted) return
    if (taken.length === 0) {
      tally.webhooksLost++
      say('no verdict webhook')
    }
    if (upload.expected === 'infected' && done.length === 0) {
      tally.webhooksLost++
      say('no webhook object.deleted')
    }
  }

  async function checkObject(upload: Upload, tally: Tally, say: (text: string) => void) {
    const facts = await present(upload)
    if (facts === undefined) {
      if (upload.expected === 'infected' || upload.deleted) tally.verdictsTrue++
      else {
        tally.wronglyDeleted++
        say('is not there any more')
      }
      return
    }
    if (upload.deleted) say('was deleted by the application and is there')
    const verdict = await proven(upload, facts)
    if (upload.expected === 'infected') {
      tally.lost++
      say(`is still there, with the proven verdict ${verdict?.tag ?? 'none'}`)
      if (verdict?.tag === 'clean') tally.wrongVerdicts++
      return
    }
    const bytes = await uploader.get(upload.key, upload.versionId)
    if (bytes === undefined || sha256(bytes) !== upload.sha256) {
      tally.wronglyDeleted++
      say('has other bytes')
    }
    const tags = await uploader.tags(upload.key, upload.versionId)
    for (const [key, value] of Object.entries(upload.tags))
      if (tags[key] !== value) say(`has lost the application's tag ${key}`)
    if (verdict === undefined) {
      tally.lost++
      say(`has no proven verdict; its tags are ${JSON.stringify(tags)}`)
    } else if (verdict.tag !== tagOf[upload.expected] || !hasReason(verdict.reason, upload)) {
      tally.wrongVerdicts++
      say(`is proven ${verdict.tag} for reason ${verdict.reason}`)
    } else tally.verdictsTrue++
  }

  return {
    /** What has not come to its end yet by the webhooks, in words; undefined when all has. */
    missing(uploads: readonly Upload[]): string | undefined {
      let count = 0
      let first: Upload | undefined
      for (const upload of uploads) {
        if (upload.deleted) continue
        const { verdicts, deleted } = webhooks.of(upload)
        const over =
          verdicts.some((one) => accepted(one) && outcomeOf(one) === upload.expected) &&
          (upload.expected !== 'infected' || deleted.some(accepted))
        if (over) continue
        count++
        first ??= upload
      }
      return first === undefined
        ? undefined
        : `${count} objects without all their webhooks (${nameOf(first)})`
    },
    async check(uploads: readonly Upload[]): Promise<Tally> {
      const tally: Tally = {
        objects: uploads.length,
        verdictsTrue: 0,
        lost: 0,
        wronglyDeleted: 0,
        wrongVerdicts: 0,
        webhooksLost: 0,
        duplicates: 0,
        problems: [],
        troubled: [],
      }
      let next = 0
      const work = async () => {
        for (let upload = uploads[next++]; upload !== undefined; upload = uploads[next++]) {
          const named = nameOf(upload)
          const broken = upload
          const say = (text: string) => {
            tally.problems.push(`${named} ${text}`)
            if (tally.troubled.at(-1) !== broken) tally.troubled.push(broken)
          }
          checkWebhooks(upload, tally, say)
          try {
            await checkObject(upload, tally, say)
          } catch (error) {
            say(`cannot be checked: ${describeError(error)}`)
          }
        }
      }
      await Promise.all(Array.from({ length: 8 }, work))
      for (const { id, body } of webhooks.unsigned.splice(0))
        tally.problems.push(`the webhook ${id} (${body.type}) has no valid signature`)
      for (const { id, body } of webhooks.odd.splice(0))
        tally.problems.push(`the webhook ${id} is a ${body.type}`)
      return tally
    },
    /** Versions below `prefix` that nobody knows to have uploaded. */
    async strangers(prefix: string, uploads: readonly Upload[]): Promise<string[]> {
      const known = new Set(uploads.map(({ key, versionId }) => `${samePlace(key)}\n${versionId}`))
      const found: string[] = []
      for await (const { key, versionId, deleteMarker } of store.versions(bucket, prefix))
        if (!deleteMarker && !known.has(`${samePlace(key)}\n${versionId}`))
          found.push(`${key} (${versionId}) was not uploaded by us`)
      return found
    },
    /** Looks now and then at infected versions while all this goes on: none may be proven clean for a moment. */
    watch(uploads: readonly Upload[]): { stop(): Promise<string[]> } {
      const problems: string[] = []
      const end = new AbortController()
      const gone = new Set<Upload>()
      const looking = (async () => {
        while (!end.signal.aborted) {
          await new Promise((resolve) => setTimeout(resolve, 100))
          const open = uploads.filter((one) => one.expected === 'infected' && !gone.has(one))
          for (const upload of open.slice(-20)) {
            try {
              const facts = await present(upload)
              if (facts === undefined) gone.add(upload)
              else if ((await proven(upload, facts))?.tag === 'clean')
                problems.push(`${nameOf(upload)} was proven clean for a while`)
            } catch {
              // The store is away.
            }
          }
        }
      })()
      return {
        async stop() {
          end.abort()
          await looking
          return problems
        },
      }
    },
  }
}

export type Check = ReturnType<typeof createCheck>

function nameOf({ key, versionId, what }: Upload): string {
  return `[${what}] ${key.length > 120 ? `${key.slice(0, 120)}…` : key} (${versionId})`
}
