// An engine that answers as a real one never should, and as broken ones do: every reply of testing/support/hostile-replies.ts,
// each to an object with a finding.
import { otherReason } from '../../../services/shared/proven.ts'
import { startFakeClamd } from '../../support/fake-clamd.ts'
import { hostileReplies } from '../../support/hostile-replies.ts'
import { samples } from '../../support/samples.ts'
import { hostileEngine } from '../support/hostile-engine.ts'
import { rewire, withEnvironment } from '../support/rewire.ts'
import { workersUnharmed } from '../support/unharmed.ts'
import type { Row } from '../types.ts'

export const hostileReplyRows: readonly Row[] = [
  {
    name: 'hostile-replies',
    title: 'every hostile engine reply, to infected objects',
    // The false engine has signatures of another version, and a re-scan for them would only take time.
    settings: { ENGINE_STALL_MS: '2000', RESCAN_WINDOW_MS: '0' },
    objects: 100,
    async inject({ deployment, parts, say, traffic }) {
      const engine = await startFakeClamd()
      const hostile = hostileEngine(engine, hostileReplies)
      // Only a TCP connection can be reset.
      const env = {
        CLAMD_SOCKET: '',
        CLAMD_ENDPOINT: '127.0.0.1',
        CLAMD_PORT: String(engine.port),
      }
      const undo = await rewire(deployment.runDir, withEnvironment(['avscan-'], env))
      try {
        const unharmed = workersUnharmed(parts)
        for (const [index, { title, reply, after }] of hostileReplies.entries()) {
          // One that answers PING beside its silence is well: the object is what takes so long.
          const isSilent = reply(1) === '' && after === undefined
          const upload = await traffic.put(
            `reply-${index}.com`,
            Buffer.concat([samples.eicar(), Buffer.from(`\n${hostile.marker(index)} ${title}`)]),
            isSilent ? 'unscannable' : 'infected',
          )
          if (isSilent && upload !== undefined) upload.reason = otherReason
        }
        await traffic.done()
        await hostile.allGiven()
        unharmed()
        say(`${hostileReplies.length} replies, each given once to its object`)
      } finally {
        await undo()
        await engine.close()
      }
    },
    expectations: { quietMs: 180_000 },
  },
]
