// A file system of a few megabytes that really is full when it is full. Needs the right to mount.
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode } from '../../../services/shared/errors.ts'

export interface SmallVolume {
  path: string
  /** Leaves that many bytes free. */
  fill(leaveBytes: number): void
  /** Takes the ballast away. */
  drain(): void
  /** What has files open on it keeps them; for all others it is gone. */
  remove(): void
}

/** Why there can be none on this machine. */
export function noSmallVolume(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting a small file system needs root'
  try {
    execFileSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'none', '/mnt'], { stdio: 'pipe' })
    return undefined
  } catch (error) {
    return `no file system can be mounted here: ${(error as Error).message.split('\n')[0]}`
  }
}

export function mountSmallVolume(path: string, bytes: number): SmallVolume {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const options = `size=${bytes},mode=0700`
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'avscan-fault', path])
  const ballast = join(path, '.ballast')
  return {
    path,
    fill: (leaveBytes) => {
      const file = openSync(ballast, 'a', 0o600)
      try {
        for (;;) {
          const { bavail, bsize } = statfsSync(path)
          const bytes = bavail * bsize - leaveBytes
          if (bytes <= 0) break
          writeSync(file, Buffer.alloc(Math.min(bytes, 1024 * 1024), 1))
        }
      } catch (error) {
        // Others write too: full is full.
        if (errorCode(error) !== 'ENOSPC') throw error
      } finally {
        closeSync(file)
      }
    },
    drain: () => rmSync(ballast, { force: true }),
    remove: () => {
      execFileSync('umount', ['--lazy', path])
      rmdirSync(path)
    },
  }
}
