// Users of the object store: made by `mc` for MinIO and Silo, by the admin API for VersityGW.
import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { XMLBuilder } from 'fast-xml-parser'
import { FatalError } from '../shared/errors.ts'
import { connectS3, queryEncode } from '../shared/s3-request.ts'
import type { Identity } from './identities.ts'
import type { Policy } from './store-policies.ts'

export interface AdminOptions {
  url: string
  region: string
  root: Identity
  /** '' for none. */
  caFile: string
}

export type Outcome = 'created' | 'changed' | 'already as wanted'

/** What the store says about a pair of keys, found out by using it. */
export type Login = (identity: Identity) => Promise<'good' | 'unknown user' | 'wrong password'>

interface Ran {
  stdout: string
}

function run(
  command: string,
  args: readonly string[],
  env: Record<string, string>,
  input = '',
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      [...args],
      { env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: 60_000 },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ stdout })
        if (error.code === 'ENOENT')
          return reject(
            new FatalError(
              `${command} is not on PATH`,
              `init object-store needs ${command} to make the store's users; install it or run \`init object-store --print\``,
            ),
          )
        // mc answers in JSON lines and repeats no secret.
        const words = `${stderr}\n${stdout}`.trim().split('\n').at(-1)
        reject(new Error(`${command} ${args.slice(0, 3).join(' ')}: ${words}`))
      },
    )
    child.stdin?.end(input)
  })
}

/** MinIO and Silo. Secrets travel in the environment and on stdin, not on the command line. */
export function minioAdmin(options: AdminOptions, login: Login) {
  const folder = mkdtempSync(join(tmpdir(), 'avscan-mc-'))
  if (options.caFile !== '') {
    mkdirSync(join(folder, 'certs', 'CAs'), { recursive: true })
    copyFileSync(options.caFile, join(folder, 'certs', 'CAs', 'avscan.crt'))
  }
  const { protocol, host } = new URL(options.url)
  const { name, password } = options.root
  const env = {
    MC_CONFIG_DIR: folder,
    HOME: folder,
    MC_HOST_store: `${protocol}//${encodeURIComponent(name)}:${encodeURIComponent(password)}@${host}`,
    MC_DISABLE_PAGER: '1',
  }
  const binary = process.env['MC_BIN'] || 'mc'
  const mc = (args: string[], input?: string) =>
    run(binary, ['--json', '--no-color', ...args], env, input)
  const json = async <T>(args: string[]): Promise<T | undefined> => {
    try {
      return JSON.parse((await mc(args)).stdout) as T
    } catch (error) {
      if (error instanceof FatalError) throw error
      return undefined
    }
  }
  return {
    async ensureUser(identity: Identity): Promise<Outcome> {
      const state = await login(identity)
      if (state === 'good') return 'already as wanted'
      await mc(['admin', 'user', 'add', 'store'], `${identity.name}\n${identity.password}\n`)
      return state === 'unknown user' ? 'created' : 'changed'
    },
    async ensurePolicy(name: string, policy: Policy, user: string): Promise<Outcome> {
      const before = await json<{ policyInfo?: { Policy?: unknown } }>([
        'admin',
        'policy',
        'info',
        'store',
        name,
      ])
      const present = before?.policyInfo?.Policy
      const same = isDeepStrictEqual(comparable(present), comparable(policy))
      if (!same) {
        const file = join(folder, `${name}.json`)
        writeFileSync(file, JSON.stringify(policy))
        await mc(['admin', 'policy', 'create', 'store', name, file])
      }
      const attached = await json<{ policyName?: string }>(['admin', 'user', 'info', 'store', user])
      const has = attached?.policyName?.split(',').includes(name) === true
      if (!has) await mc(['admin', 'policy', 'attach', 'store', name, '--user', user])
      if (present === undefined) return 'created'
      return same && has ? 'already as wanted' : 'changed'
    },
    /** The access keys that a user has made beside its own. */
    async keysOf(user: string): Promise<string[]> {
      const { stdout } = await mc(['admin', 'user', 'svcacct', 'ls', 'store', user])
      return stdout.split('\n').flatMap((line) => {
        const { accessKey } = JSON.parse(line === '' ? '{}' : line) as { accessKey?: string }
        return accessKey ?? []
      })
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** VersityGW's admin API: its own command takes a new user's secret as an argument, which everybody on the machine may read. */
export function versitygwAdmin(options: AdminOptions, login: Login) {
  const { url, region, root, caFile } = options
  const keys = { user: root.name, password: root.password }
  const s3 = connectS3({ url, region, caFile, ...keys, timeoutMs: adminTimeoutMs })
  const patch = async (call: string, query: string | undefined, body: object) => {
    const request = { method: 'PATCH' as const, bucket: call, body: Buffer.from(xml.build(body)) }
    const answer = await s3.request(query === undefined ? request : { ...request, query })
    await answer.body.dump()
  }
  return {
    async ensureUser({ name, password }: Identity): Promise<Outcome> {
      const state = await login({ name, password })
      if (state === 'good') return 'already as wanted'
      if (state === 'unknown user') {
        const account = { Access: name, Secret: password, Role: 'user' }
        await patch('create-user', undefined, { Account: account })
        return 'created'
      }
      const props = { MutableProps: { Secret: password } }
      await patch('update-user', `access=${queryEncode(name)}`, props)
      return 'changed'
    },
    close: () => s3.close(),
  }
}

const adminTimeoutMs = 60_000
const xml = new XMLBuilder({})

/** Stores give lists back in an order of their own, and a list of one as a bare string. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value))
    return value
      .map(comparable)
      .toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [
        key,
        comparable(
          typeof inner === 'string' && ['Action', 'Resource', 'AWS'].includes(key)
            ? [inner]
            : inner,
        ),
      ]),
  )
}
