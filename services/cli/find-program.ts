// Looks for a program as a shell would, and in the folders that a plain user's PATH leaves out.
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export function findProgram(name: string, path: string | undefined): string | undefined {
  const folders = [
    ...(path ?? '').split(delimiter),
    '/usr/local/sbin',
    '/usr/sbin',
    '/sbin',
    '/usr/local/go/bin',
  ]
  for (const folder of folders) {
    if (folder === '') continue
    const file = join(folder, name)
    try {
      accessSync(file, constants.X_OK)
      if (statSync(file).isFile()) return file
    } catch {
      // not here
    }
  }
  return undefined
}
