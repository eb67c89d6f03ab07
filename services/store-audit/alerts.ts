// One line for each write of that kind; when somebody makes thousands, the next line says how many were left out.
import type { Decision } from './decide.ts'
import type { AuditEntry } from './entry.ts'
import type { Log } from '../shared/log.ts'

type Telling = Extract<Decision, { signs: string[] }>

const messages: Record<Telling['kind'], string> = {
  verify: 'a write whose identity the uploader chose; it is judged again',
  sweep: 'an archive whose objects make no event; everything is judged again',
  begun: 'an upload whose identity the uploader chose was begun; its end is judged',
}
const perMinute = 20
const minuteMs = 60_000

export function createAlerts(log: Pick<Log, 'warn'>, now: () => number = Date.now) {
  let minuteBegan = -Infinity
  let said = 0
  let unsaid = 0
  return {
    tell({ accessKey, remoteHost, api, time }: AuditEntry, { signs, ...what }: Telling): void {
      if (now() - minuteBegan >= minuteMs) {
        minuteBegan = now()
        said = 0
      }
      if (said >= perMinute) {
        unsaid += 1
        return
      }
      said += 1
      const { bucket, ...rest } = 'written' in what ? what.written : { bucket: what.bucket }
      log.warn(messages[what.kind], {
        accessKey: accessKey === '' ? 'of a form' : accessKey,
        remoteHost,
        api,
        bucket,
        ...rest,
        signs,
        time,
        ...(unsaid > 0 ? { unsaidBefore: unsaid } : {}),
      })
      unsaid = 0
    },
  }
}

export type Alerts = ReturnType<typeof createAlerts>
