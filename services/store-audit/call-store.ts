// A call without an identity, for its entry in the audit log. The store refuses it and writes that down.
import { Agent, request } from 'undici'
import { pulseName } from './pulse.ts'
import type { Config } from '../shared/config-schema.ts'
import { trustedCas } from '../shared/trust.ts'

const timeoutMs = 10_000

export function createCall({ store, tls }: Config) {
  const ca = trustedCas(tls.ca)
  const agent = new Agent({
    connect: { timeout: timeoutMs, ...(ca === undefined ? {} : { ca }) },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
  })
  const place = `${store.url.replace(/\/$/, '')}/${store.buckets[0] ?? ''}`
  return {
    call: async (id: string): Promise<boolean> => {
      try {
        const answer = await request(`${place}?${pulseName}=${id}`, {
          method: 'HEAD',
          dispatcher: agent,
        })
        await answer.body.dump()
        // What stands before the store answers so when the store is away.
        return answer.statusCode < 500
      } catch {
        return false
      }
    },
    close: () => agent.close(),
  }
}
