// One logger per process, made in main.ts and handed down. JSON lines, or text lines that begin with
// the service's name as the original's did (`[avscan] …`). A message is a short constant sentence; what varies is a field.
import winston from 'winston'
import { describeError, FatalError } from './errors.ts'
import { printable } from './printable.ts'

export type Log = Pick<winston.Logger, 'debug' | 'info' | 'warn' | 'error'> & {
  child(fields: Record<string, unknown>): Log
}

export interface LogOptions {
  format: 'json' | 'text'
  level: string
  file?: string | undefined
}

// winston's json() prints an Error as {} and drops its cause.
const spellOutErrors = winston.format((info) => {
  for (const [key, value] of Object.entries(info)) {
    if (!(value instanceof Error)) continue
    const { name, stack } = value
    const code = 'code' in value ? value.code : undefined
    const hint = value instanceof FatalError ? value.hint : undefined
    info[key] = {
      name,
      message: describeError(value),
      code,
      hint,
      stack: info.level === 'error' ? stack : undefined,
    }
  }
  return info
})

const text = winston.format.printf(({ level, message, service, ...fields }) => {
  const rest = Object.entries(fields).map(([key, value]) => {
    if (value === undefined || key === 'timestamp') return ''
    const shown =
      typeof value === 'object' && value !== null && 'message' in value && 'name' in value
        ? String(value.message)
        : typeof value === 'string'
          ? value
          : JSON.stringify(value)
    return ` ${key}=${/^[\w./:@+-]+$/.test(shown) ? shown : JSON.stringify(shown)}`
  })
  return `[${String(service)}] ${level === 'info' ? '' : `${level}: `}${String(message)}${rest.join('')}`
})

// Control and invisible characters in a key or in a foreign error must not forge log lines, nor reach a terminal. winston keeps
// the finished line under this symbol.
const finished = Symbol.for('message')
const harmless = winston.format.printf((info) => printable(String(info[finished])))

/** A logger for `service`, to stdout and, with `file`, to that file as well. */
export function createLog(service: string, options: LogOptions): Log {
  const format = winston.format.combine(
    winston.format.timestamp(),
    spellOutErrors(),
    options.format === 'text' ? text : winston.format.json(),
    harmless,
  )
  return winston.createLogger({
    level: options.level,
    format,
    defaultMeta: { service },
    transports: [
      new winston.transports.Console(),
      ...(options.file === undefined
        ? []
        : [new winston.transports.File({ filename: options.file })]),
    ],
  })
}

/** A logger that says nothing (tests, one-shot commands). */
export const silentLog: Log = {
  debug: () => silentLog as never,
  info: () => silentLog as never,
  warn: () => silentLog as never,
  error: () => silentLog as never,
  child: () => silentLog,
}
