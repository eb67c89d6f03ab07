// One line for each write of that kind, and a number instead when somebody makes thousands.
import type { Decision } from './decide.ts'
import type { AuditEntry } from './entry.ts'
import type { Log } from '../shared/log.ts'

const perMinute = 20
const minuteMs = 60_000

export function createAlerts(log: Pick<Log, 'warn'>, now: () => number = Date.now) {
  let begun = -Infinity
  let said = 0
  let unsaid = 0
  return {
    tell(
      { accessKey, remoteHost, api, time }: AuditEntry,
      { signs, ...what }: Extract<Decision, { signs: string[] }>,
    ): void {
      if (now() - begun >= minuteMs) {
        begun = now()
        said = 0
      }
      if (said >= perMinute) {
        unsaid += 1
        return
      }
      said += 1
      const { bucket, ...rest } = 'written' in what ? what.written : { bucket: what.bucket }
      log.warn('a write whose identity the uploader chose; it is judged again', {
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
