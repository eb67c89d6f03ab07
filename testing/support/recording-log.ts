// A logger that keeps what it is told.
import type { Log } from '../../services/shared/log.ts'

export interface RecordingLog extends Log {
  readonly lines: { level: string; message: string; fields: Record<string, unknown> }[]
}

export function recordingLog(): RecordingLog {
  const lines: RecordingLog['lines'] = []
  const at = (level: string) => (message: unknown, fields?: unknown) => {
    lines.push({ level, message: String(message), fields: { ...(fields as object) } })
    return log as never
  }
  const log: RecordingLog = {
    lines,
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => log,
  }
  return log
}
