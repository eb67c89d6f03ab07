// Where clamd's signatures come from: SIGNATURES=online | mirror:URL | dir:PATH | test. Without it: online when the mirror
// answers quickly, else the set that knows the EICAR test file only, which is said loudly everywhere.
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import { describeError, FatalError } from '../shared/errors.ts'
import { testSignatures } from '../shared/test-signatures.ts'
import { lastWords, runCommand } from './run-command.ts'
import { say, step } from './say.ts'

export type SignatureSource =
  | { kind: 'auto' }
  | { kind: 'online' }
  | { kind: 'mirror'; url: string }
  | { kind: 'dir'; path: string }
  | { kind: 'test' }

export interface PreparedSignatures {
  directory: string
  set: 'official' | 'custom' | 'test'
  /** freshclam's configuration when it has to run beside clamd. */
  freshclamConf?: string
  /** Why it is the test set although nobody asked for it. */
  trouble?: string
}

const officialMirror = 'https://database.clamav.net'
const databaseFile =
  /\.(cvd|cld|cud|ndb|ndu|hdb|hdu|hsb|hsu|mdb|msb|ldb|ldu|yar|yara|cdb|fp|sfp|ign2)$/

export function parseSignatureSource(text: string | undefined): SignatureSource {
  if (text === undefined || text === '') return { kind: 'auto' }
  if (text === 'online' || text === 'test') return { kind: text }
  const [, kind, rest = ''] = /^(mirror|dir):(.*)$/.exec(text) ?? []
  if (kind === 'mirror' && URL.canParse(rest)) return { kind, url: rest }
  if (kind === 'dir' && rest !== '') return { kind, path: resolve(rest) }
  throw new FatalError(
    `SIGNATURES=${text} is not understood`,
    'set SIGNATURES=online, mirror:https://…, dir:/path/to/signatures or test',
  )
}

export interface PrepareOptions {
  source: SignatureSource
  /** `…/engine/signatures`; each kind has its own folder in it. */
  root: string
  freshclam: string
  /** The running deployment already has these; the mirror is not asked again. */
  before?: PreparedSignatures['set'] | undefined
}

export async function prepareSignatures(options: PrepareOptions): Promise<PreparedSignatures> {
  const { source, root } = options
  mkdirSync(root, { recursive: true, mode: 0o700 })
  if (source.kind === 'test') return prepareTest(root)
  if (source.kind === 'dir') return prepareFolder(source.path)
  if (source.kind === 'mirror') return download(options, source.url, 'custom')
  if (source.kind === 'online') return download(options, officialMirror, 'official')
  if (hasDatabase(join(root, 'official'))) return download(options, officialMirror, 'official')
  const trouble = await step(
    'asking the signature mirror',
    () => mirrorTrouble(officialMirror),
    'at most 6 s',
  )
  if (trouble !== undefined) return { ...(await prepareTest(root)), trouble }
  try {
    return await download(options, officialMirror, 'official')
  } catch (error) {
    return { ...(await prepareTest(root)), trouble: describeError(error) }
  }
}

async function prepareTest(root: string): Promise<PreparedSignatures> {
  const directory = join(root, 'test')
  await testSignatures(directory)
  return { directory, set: 'test' }
}

function prepareFolder(path: string): PreparedSignatures {
  if (!hasDatabase(path))
    throw new FatalError(
      `there are no signature files in ${path}`,
      'SIGNATURES=dir:PATH names a folder with .cvd, .cld, .ndb, .hdb … files',
    )
  const official = readdirSync(path).some((name) => /^(main|daily)\.c[vl]d$/.test(name))
  return { directory: path, set: official ? 'official' : 'custom' }
}

function hasDatabase(path: string): boolean {
  return (
    existsSync(path) &&
    readdirSync(path).some((name) => databaseFile.test(name) && statSync(join(path, name)).size > 0)
  )
}

/** Why the mirror cannot be used, found out within seconds; only a real answer for a database counts. */
export async function mirrorTrouble(mirror: string, timeoutMs = 6000): Promise<string | undefined> {
  try {
    const response = await fetch(`${mirror}/daily.cvd`, {
      headers: {
        range: 'bytes=0-511',
        'user-agent': 'ClamAV/1.4.6 (OS: linux-gnu, ARCH: x86_64, CPU: x86_64)',
      },
      signal: AbortSignal.timeout(timeoutMs),
    })
    const head = response.ok
      ? Buffer.from(await response.arrayBuffer())
          .subarray(0, 10)
          .toString('latin1')
      : ''
    if (head === 'ClamAV-VDB') return undefined
    return `${mirror} answers ${response.status}`
  } catch (error) {
    return `${mirror} does not answer: ${describeError(error)}`
  }
}

async function download(
  options: PrepareOptions,
  url: string,
  set: 'official' | 'custom',
): Promise<PreparedSignatures> {
  const directory = join(options.root, set)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const conf = join(options.root, `freshclam-${set}.conf`)
  const mirror =
    set === 'official'
      ? [`DatabaseMirror ${new URL(url).host}`]
      : [`PrivateMirror ${url}`, 'DNSDatabaseInfo no', 'ScriptedUpdates no']
  writeFileSync(
    conf,
    [
      `DatabaseDirectory ${directory}`,
      `DatabaseOwner ${userInfo().username}`,
      ...mirror,
      'Checks 12',
      'ConnectTimeout 15',
      'MaxAttempts 2',
      'Foreground yes',
      '',
    ].join('\n'),
  )
  const fresh = { directory, set, freshclamConf: conf }
  if (hasDatabase(directory)) return fresh
  await step(
    `downloading the signatures from ${url}`,
    async () => {
      const outcome = await runCommand([options.freshclam, `--config-file=${conf}`, '--stdout'], {
        timeoutMs: 480_000,
      })
      if (outcome.code === 0 && hasDatabase(directory)) return
      rmSync(directory, { recursive: true, force: true })
      throw new FatalError(
        `freshclam ended with ${outcome.code}: ${lastWords(outcome, 3)}`,
        'is the mirror reachable and not rate-limited? SIGNATURES=mirror:URL or dir:PATH names another source',
      )
    },
    'some 300 MB, a few minutes',
  )
  return fresh
}

/** What must not be overlooked. */
export function warnOfTestSet(trouble?: string): void {
  const line = '!'.repeat(78)
  say(line)
  say('!! SIGNATURES: the EICAR-only TEST SET. Real malware is NOT found.')
  if (trouble !== undefined) say(`!! ${trouble}`)
  say('!! For real use: SIGNATURES=online, mirror:URL or dir:PATH, then make deploy.')
  say(line)
}
