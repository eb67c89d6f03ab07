// Where a command of ours talks to people.

export interface Terminal {
  /** What was asked for: stdout. */
  out: (text: string) => void
  /** A remark, in a line of its own: stderr. */
  say: (line: string) => void
  /** How far it is: one line that changes on a terminal, elsewhere a line now and then. */
  progress: (line: string) => void
  /** Columns. */
  width: number
  /** Aborted by Ctrl-C. */
  signal?: AbortSignal
}

const progressMs = 5000

/** The terminal of this process. */
export function createTerminal(signal: AbortSignal): Terminal {
  const { stdout, stderr } = process
  // `make dead | head` closes our output, and a `docker exec` that was stopped does.
  for (const stream of [stdout, stderr]) stream.on('error', () => process.exit(0))
  let drawn = false
  let said = -Infinity
  const clear = () => {
    if (drawn) stderr.write('\r\u001b[2K')
    drawn = false
  }
  return {
    signal,
    width: stdout.columns ?? (Number(process.env['COLUMNS']) || 160),
    out: (text) => {
      clear()
      stdout.write(text)
    },
    say: (line) => {
      clear()
      stderr.write(`${line}\n`)
    },
    progress: (line) => {
      if (stderr.isTTY) {
        stderr.write(`\r\u001b[2K${line.slice(0, Math.max(20, stderr.columns - 1))}`)
        drawn = true
      } else if (performance.now() - said >= progressMs) {
        said = performance.now()
        stderr.write(`${line}\n`)
      }
    },
  }
}

/** `12,345` */
export const inThousands = (value: number): string => value.toLocaleString('en')

/** `8s`, `5m`, `3h`, `12d` */
export function renderAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}
