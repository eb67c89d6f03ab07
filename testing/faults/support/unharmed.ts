// Whether bad input has left its marks: a worker that died, a log line that is no line, a file where none belongs.
import type { Parts } from '../parts.ts'

/** From now on no worker may end and every line of their logs is one JSON object; the returned function checks it. @throws Error */
export function workersUnharmed(parts: Parts): () => void {
  const services = () =>
    parts.names().filter((name) => /^avscan-|^notifier$|^reconciler$/.test(name))
  const before = services().map((name) => ({ name, pid: parts.pid(name) }))
  const reader = `unharmed ${performance.now()}`
  for (const { name } of before) parts.newLines(name, reader)
  return () => {
    for (const { name, pid } of before) {
      if (parts.pid(name) !== pid) throw new Error(`${name} has ended and was started again`)
      for (const line of parts.newLines(name, reader)) checkLine(name, line)
    }
  }
}

function checkLine(name: string, line: string): void {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch {
    throw new Error(`${name} has a log line that is not JSON: ${line.slice(0, 300)}`)
  }
  if (typeof parsed !== 'object' || parsed === null || !('level' in parsed))
    throw new Error(`${name} has a log line that is no entry: ${line.slice(0, 300)}`)
}
