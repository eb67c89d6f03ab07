// A child's log: whole lines, secrets masked, two files of at most maxBytes each.
import { appendFileSync, mkdirSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

export interface LogFile {
  write(chunk: string): void
  /** Writes a last line without its end. */
  flush(): void
}

// RabbitMQ colours its log wherever it goes.
const colours = new RegExp(`${String.fromCodePoint(27)}\\[[0-9;]*m`, 'g')

export function openLogFile(
  path: string,
  options: { maxBytes: number; mask?: readonly string[] },
): LogFile {
  mkdirSync(dirname(path), { recursive: true })
  let size = sizeOf(path)
  let rest = ''
  const masked = (line: string) => {
    let shown = line.replaceAll(colours, '')
    for (const secret of options.mask ?? [])
      if (secret !== '') shown = shown.replaceAll(secret, '***')
    return shown
  }
  let lost = 0
  const append = (text: string) => {
    try {
      put(lost === 0 ? text : `${lost} lines before this one could not be written\n${text}`)
      lost = 0
    } catch {
      // A full disk must not end the supervisor, and with it all that it watches.
      lost += text.split('\n').length - 1
    }
  }
  const put = (text: string) => {
    if (size > 0 && size + text.length > options.maxBytes) {
      renameSync(path, `${path}.1`)
      size = 0
    }
    appendFileSync(path, text, { mode: 0o600 })
    size += Buffer.byteLength(text)
  }
  return {
    write(chunk) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      // A line without end must not grow without bound.
      if (rest.length > 64 * 1024) {
        lines.push(rest)
        rest = ''
      }
      if (lines.length > 0) append(lines.map((line) => `${masked(line)}\n`).join(''))
    },
    flush() {
      if (rest !== '') append(`${masked(rest)}\n`)
      rest = ''
    },
  }
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size
  } catch {
    return 0
  }
}
