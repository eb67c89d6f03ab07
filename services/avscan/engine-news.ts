// What a worker tells others about its engine: by which signatures it judges now, and from when on a sweep has to look for
// objects that were let pass unscanned. Told until it is confirmed; ids repeat for the same facts.
import type { Engines } from './engines/create.ts'
import type { Publisher } from '../shared/broker.ts'
import { messageId, type SignaturesUpdated, type SweepRequested } from '../shared/messages.ts'
import { names, signaturesUpdatedKey } from '../shared/topology.ts'

/** Clocks differ, and Last-Modified is in whole seconds. */
const marginMs = 60_000

export class EngineNews {
  readonly #publisher: Pick<Publisher, 'publish'>
  #told: string | undefined
  #oldestPassed: Date | undefined

  constructor(publisher: Pick<Publisher, 'publish'>) {
    this.#publisher = publisher
  }

  /** An object of that date was let pass unscanned. */
  passed(lastModified: Date): void {
    if (this.#oldestPassed === undefined || lastModified < this.#oldestPassed)
      this.#oldestPassed = lastModified
  }

  /** @throws PublishError: call it again. */
  async tell({ judge, parts }: Engines): Promise<void> {
    // A fallback's signatures are nobody's reason to scan everything again.
    const versions = new Set(
      (parts[0]?.addresses ?? []).flatMap(({ breaker, signatureVersion }) =>
        breaker === 'open' || signatureVersion === undefined ? [] : [signatureVersion],
      ),
    )
    const [version] = versions
    // While addresses are of two minds, an update is under way.
    if (version !== undefined && versions.size === 1 && version !== this.#told) {
      await this.#signatures(version)
      this.#told = version
    }
    const oldest = this.#oldestPassed
    if (oldest !== undefined && judge.outage === undefined) {
      await this.#sweep(oldest)
      if (this.#oldestPassed === oldest) this.#oldestPassed = undefined
    }
  }

  async #signatures(signatureVersion: string): Promise<void> {
    const message: SignaturesUpdated = {
      type: 'signatures.updated',
      timestamp: new Date().toISOString(),
      data: { schemaVersion: '1.0', signatureVersion },
    }
    await this.#publisher.publish({
      exchange: names.verdicts,
      routingKey: signaturesUpdatedKey,
      body: Buffer.from(JSON.stringify(message)),
      messageId: messageId(message.type, signatureVersion),
      type: message.type,
    })
  }

  async #sweep(oldest: Date): Promise<void> {
    const since = new Date(oldest.getTime() - marginMs).toISOString()
    const id = messageId('sweep.requested', 'unscanned', since)
    const message: SweepRequested = {
      type: 'sweep.requested',
      timestamp: new Date().toISOString(),
      data: { id, reason: 'objects passed unscanned while the engine was away', since },
    }
    await this.#publisher.publish({
      exchange: names.jobs,
      routingKey: names.reconcile,
      body: Buffer.from(JSON.stringify(message)),
      messageId: id,
      type: message.type,
    })
  }
}
