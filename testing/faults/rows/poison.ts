// Objects that do to the engine, each time, what a bad parser lets them do.
import { join } from 'node:path'
import { startEngineFront, type EngineFront } from '../support/engine-front.ts'
import { rewire, withEnvironment, type Undo } from '../support/rewire.ts'
import { eventually } from '../../support/eventually.ts'
import type { FaultContext, Row } from '../types.ts'

const markers = { kill: 'this-object-kills-the-engine', hang: 'this-object-hangs-the-engine' }
const poisonName = (how: keyof typeof markers) => `poison-${how}.bin`

function poison(how: keyof typeof markers, title: string): Row {
  const isPoison = (text: string) => text.includes(poisonName(how))
  let front: EngineFront | undefined
  let undo: Undo | undefined
  return {
    name: `poison-${how}`,
    title,
    async inject(context) {
      const { deployment, parts, traffic } = context
      front = await startEngineFront({
        socket: join(deployment.runDir, 'front.sock'),
        engineSocket: parts.layout.engineSocket,
        killMarker: markers.kill,
        hangMarker: markers.hang,
        kill: () => deployment.kill('engine', 'SIGKILL').catch(() => {}),
      })
      const env = { CLAMD_SOCKET: front.socket }
      undo = await rewire(deployment.runDir, withEnvironment(['avscan-'], env))
      await traffic.until(0.3)
      const bytes = Buffer.from(`${'x'.repeat(1000)}${markers[how]}\n`)
      const object = await traffic.put(poisonName(how), bytes, 'failed')
      await traffic.done()
      await givenUp(context, object?.key ?? '')
    },
    // Only now: a sweep tries what was given up again, and would find a harmless object.
    async after(context) {
      await context.parts.ready('engine')
      await undo?.()
      await front?.close()
      const times = (how === 'kill' ? front?.killed : front?.hung) ?? 0
      context.say(`it met the engine ${times} times`)
      if (times < 2) throw new Error(`it met the engine ${times} times`)
    },
    expectations: { dead: ({ body }) => isPoison(body), quietMs: 180_000 },
  }
}

/** `verdict.failed` is the last that is heard of it. */
async function givenUp({ receiver }: FaultContext, key: string): Promise<void> {
  await eventually(
    () =>
      receiver.requests.some(
        ({ body }) =>
          body.type === 'object.scan.failed' && body.data.s3ObjectDetails.objectKey === key,
      ),
    { timeoutMs: 180_000, everyMs: 200 },
  )
}

export const poisonRows: readonly Row[] = [
  poison('kill', 'an object that kills the engine every time'),
  poison('hang', 'an object that hangs the engine every time'),
]
