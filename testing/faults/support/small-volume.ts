// A file system of a few megabytes that really is full when it is full. Needs the right to mount.
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface SmallVolume {
  path: string
  /** Leaves that many bytes free. */
  fill(leaveBytes: number): void
  /** Takes the ballast away. */
  drain(): void
  /** Throws while something has files open on it. */
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
      rmSync(ballast, { force: true })
      const { bavail, bsize } = statfsSync(path)
      writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes), 1))
    },
    drain: () => rmSync(ballast, { force: true }),
    remove: () => {
      execFileSync('umount', [path])
      rmdirSync(path)
    },
  }
}
