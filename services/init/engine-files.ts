// What clamd's container needs before it starts: clamd.conf sized by the limits, freshclam.conf where signatures come
// from a mirror, the EICAR-only set where that was asked for, and folders that an unprivileged clamd may write.
import { existsSync } from 'node:fs'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { clamdConf } from '../shared/clamd-conf.ts'
import { FatalError } from '../shared/errors.ts'
import { testSignatures } from '../shared/test-signatures.ts'

export interface EngineFilesOptions {
  /** The folder that clamd's container sees at the same path. */
  folder: string
  /** Folders for clamd's socket and its temporary files; shared volumes with no other purpose. */
  socketFolder: string
  temporaryFolder: string
  /** online | mirror:URL | dir | dir:PATH | test */
  signatures: string
  engine: 'clamd' | 'clamav-rest'
  maxObjectBytes: number
  maxScanTimeMs: number
  maxThreads?: number
}

const downloaded = '/var/lib/clamav'
/** Where compose.yaml mounts the folder of SIGNATURES=dir:PATH. */
const given = '/opt/av-scan/signatures'

/** Writes the files and returns what it did, one line each. Idempotent. */
export async function writeEngineFiles(options: EngineFilesOptions): Promise<string[]> {
  const { folder, socketFolder, temporaryFolder } = options
  const source = sourceOf(options.signatures)
  const said: string[] = []
  await mkdir(folder, { recursive: true })
  // clamd runs as another user, whose number depends on its image; each is on a volume of its own.
  for (const shared of [socketFolder, temporaryFolder].filter((path) => existsSync(path)))
    await chmod(shared, 0o1777)

  const testFolder = join(folder, 'test-signatures')
  const directory = { mirror: downloaded, dir: given, test: testFolder }[source.kind]
  await rm(testFolder, { recursive: true, force: true })
  if (source.kind === 'test') {
    await testSignatures(testFolder)
    said.push(
      'signatures: the EICAR-only TEST SET, because SIGNATURES=test; real malware is NOT found',
    )
  } else said.push(`signatures: from ${source.kind === 'dir' ? 'the given folder' : source.url}`)

  const freshclam = join(folder, 'freshclam.conf')
  await rm(freshclam, { force: true })
  if (source.kind === 'mirror') await writeFile(freshclam, freshclamConf(source.url, folder))

  const conf = clamdConf({
    socket: join(socketFolder, 'clamd.sock'),
    // clamav-rest finds clamd on its own loopback only.
    ...(options.engine === 'clamav-rest' ? { tcp: { host: '127.0.0.1', port: 3310 } } : {}),
    databaseDirectory: directory,
    temporaryDirectory: temporaryFolder,
    maxObjectBytes: options.maxObjectBytes,
    maxScanTimeMs: options.maxScanTimeMs,
    maxThreads: options.maxThreads ?? availableParallelism(),
    // The socket lies on a volume that only clamd and the workers mount; their users have no group in common.
    overrides: { LocalSocketMode: 666 },
  })
  await writeFile(join(folder, 'clamd.conf'), conf)
  said.push(`clamd.conf: objects up to ${options.maxObjectBytes} bytes`)
  return said
}

const officialMirror = 'https://database.clamav.net'

type Source = { kind: 'mirror'; url: string } | { kind: 'dir' } | { kind: 'test' }

function sourceOf(text: string): Source {
  if (text === '' || text === 'online') return { kind: 'mirror', url: officialMirror }
  if (text === 'test') return { kind: 'test' }
  if (text === 'dir' || text.startsWith('dir:')) return { kind: 'dir' }
  const url = text.replace(/^mirror:/, '')
  if (text.startsWith('mirror:') && URL.canParse(url)) return { kind: 'mirror', url }
  throw new FatalError(
    `SIGNATURES=${text} is not understood`,
    'set SIGNATURES=online, mirror:https://…, dir:/path/to/signatures or test',
  )
}

function freshclamConf(url: string, folder: string): string {
  const mirror =
    url === officialMirror
      ? [`DatabaseMirror ${new URL(url).host}`]
      : [`PrivateMirror ${url}`, 'DNSDatabaseInfo no', 'ScriptedUpdates no']
  const lines = [
    `DatabaseDirectory ${downloaded}`,
    'DatabaseOwner clamav',
    ...mirror,
    `NotifyClamd ${join(folder, 'clamd.conf')}`,
    'ConnectTimeout 15',
    'MaxAttempts 3',
  ]
  return `${lines.join('\n')}\n`
}
