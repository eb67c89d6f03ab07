// Shows the parts' logs as text lines, each beginning with the part's name, whatever form it was written in.
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FatalError } from '../shared/errors.ts'
import { printable } from '../shared/printable.ts'

/** One line of a service's JSON log, or any other program's line, for people; what keys of objects hold does not speak to their terminal. */
export function renderLine(name: string, line: string): string {
  return render(name, line).split('\t').map(printable).join('\t')
}

function render(name: string, line: string): string {
  if (!line.startsWith('{')) return `[${name}] ${line}`
  try {
    const {
      timestamp,
      level,
      message,
      service: _,
      ...fields
    } = JSON.parse(line) as Record<string, unknown>
    const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${renderValue(value)}`)
    const time = typeof timestamp === 'string' ? `${timestamp.slice(11, 23)} ` : ''
    const severity =
      level === undefined || level === 'info'
        ? ''
        : `${JSON.stringify(level).replaceAll('"', '')}: `
    return `[${name}] ${time}${severity}${String(message)}${rest.join('')}`
  } catch {
    return `[${name}] ${line}`
  }
}

function renderValue(value: unknown): string {
  if (typeof value === 'object' && value !== null && 'message' in value)
    return JSON.stringify(value.message)
  if (typeof value === 'string') return /^[\w./:@+-]+$/.test(value) ? value : JSON.stringify(value)
  return JSON.stringify(value)
}

export interface LogOptions {
  follow: boolean
  lines: number
  parts: readonly string[]
}

export async function showLogs(folder: string, options: LogOptions): Promise<void> {
  const names = existsSync(folder)
    ? readdirSync(folder).flatMap((file) => /^(.+)\.log$/.exec(file)?.[1] ?? [])
    : []
  const wanted = (name: string) =>
    options.parts.length === 0 ||
    options.parts.some((part) => name === part || name.startsWith(`${part}-`))
  const shown = names.filter(wanted).toSorted()
  if (shown.length === 0)
    throw new FatalError(
      options.parts.length === 0
        ? 'there are no logs yet'
        : `no part is called ${options.parts.join(', ')}`,
      names.length === 0 ? 'make deploy' : `parts: ${names.toSorted().join(', ')}`,
    )
  const positions = new Map<string, number>()
  for (const name of shown) {
    const file = join(folder, `${name}.log`)
    const size = statSync(file).size
    const from = Math.max(0, size - 256 * 1024)
    const lines = readFrom(file, from, size).split('\n')
    if (from > 0) lines.shift()
    print(name, lines.filter((line) => line !== '').slice(-options.lines))
    positions.set(name, size)
  }
  while (options.follow) {
    await sleep(300)
    for (const name of shown) {
      const file = join(folder, `${name}.log`)
      if (!existsSync(file)) continue
      const size = statSync(file).size
      // Rotated: the new file begins at zero.
      const before = positions.get(name) ?? 0
      const position = before > size ? 0 : before
      const text = readFrom(file, position, size)
      const end = text.lastIndexOf('\n') + 1
      print(
        name,
        text
          .slice(0, end)
          .split('\n')
          .filter((line) => line !== ''),
      )
      positions.set(name, position + Buffer.byteLength(text.slice(0, end)))
    }
  }
}

function print(name: string, lines: readonly string[]): void {
  for (const line of lines) process.stdout.write(`${renderLine(name, line)}\n`)
}

function readFrom(file: string, from: number, to: number): string {
  if (to <= from) return ''
  const descriptor = openSync(file, 'r')
  try {
    const buffer = Buffer.alloc(to - from)
    const count = readSync(descriptor, buffer, 0, buffer.length, from)
    return buffer.toString('utf8', 0, count)
  } finally {
    closeSync(descriptor)
  }
}
