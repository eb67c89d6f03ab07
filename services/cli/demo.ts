// `make demo`: five objects go in, their signed webhooks come back, and a table fills in as they do.
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { FatalError } from '../shared/errors.ts'
import type { Outcome, OutMessage, VerdictMessage } from '../shared/messages.ts'
import { eicar } from '../shared/test-signatures.ts'
import { openUploader } from './client.ts'
import type { UploaderAccess } from './runtime.ts'
import { say } from './say.ts'
import { liveTable } from './table.ts'
import { startReceiver } from './webhook-receiver.ts'
import { zipOf } from './zip.ts'

export interface DemoObject {
  name: string
  body: Buffer
  expected: Outcome
}

export function demoObjects(run: string): DemoObject[] {
  return [
    { name: 'clean.txt', body: Buffer.from(`Nothing to see here (${run}).\n`), expected: 'CLEAN' },
    { name: 'eicar.com', body: eicar(), expected: 'INFECTED' },
    { name: 'eicar-inside.zip', body: zipOf('eicar.com', eicar()), expected: 'INFECTED' },
    {
      name: 'encrypted.zip',
      body: zipOf('letter.txt', Buffer.from('for your eyes only\n'), 'secret'),
      expected: 'UNSCANNABLE',
    },
    { name: 'empty.txt', body: Buffer.alloc(0), expected: 'CLEAN' },
  ]
}

export interface DemoRow {
  key: string
  expected: Outcome
  uploadedAt: number
  verdict?: Outcome
  /** Signature or reason. */
  why?: string
  action?: string
  ms?: number
  /** The action that was announced has been reported done, or none was. */
  complete: boolean
}

export function isVerdict(message: OutMessage): message is VerdictMessage {
  return 'scanResultDetails' in message.data
}

/** Takes one webhook into the rows; true when it changed something. Repeated webhooks change nothing. */
export function takeMessage(rows: DemoRow[], message: OutMessage, at: number): boolean {
  const row = rows.find(({ key }) => key === message.data.s3ObjectDetails.objectKey)
  if (row === undefined) return false
  if (!isVerdict(message)) {
    if (row.complete && row.verdict !== undefined) return false
    row.action = message.type.replace(/^object\./, '')
    row.complete = row.verdict !== undefined
    return true
  }
  if (row.verdict !== undefined) return false
  const { scanResultDetails: result, action } = message.data
  row.verdict = result.scanResultStatus
  row.why =
    result.threats.map(({ name }) => name).join(', ') ||
    [result.statusReasons.join(', '), result.detail ?? ''].filter((part) => part !== '').join(' ')
  row.ms = at - row.uploadedAt
  row.complete = action.type !== 'delete' || row.action !== undefined
  row.action ??= action.type
  return true
}

// Widths that do not change while rows come, together less than 80 columns.
const head = [
  'object'.padEnd(16),
  'verdict'.padEnd(11),
  'signature or reason'.padEnd(31),
  'action'.padEnd(7),
  'ms',
]

export function cellsOf(row: DemoRow): string[] {
  return [
    // The folder of this run is said above the table.
    row.key.split('/').at(-1) ?? '',
    row.verdict ?? '…',
    row.why ?? '',
    row.action ?? '',
    row.ms === undefined ? '' : String(row.ms),
  ]
}

export interface DemoPlace {
  host: string
  port: number
  secret: string
}

/** Has the demo put it there? Others may keep what they need under `demo/`, too. */
export function isOfDemo(key: string): boolean {
  return /^demo\/\d{8}T\d{6}-[0-9a-f]{6}\//.test(key)
}

/** Exit code: 0 only when all five verdicts are the expected ones and every signature was right. */
export async function runDemo(
  access: UploaderAccess,
  place: DemoPlace,
  timeoutMs = 90_000,
): Promise<number> {
  // As `isOfDemo` knows it again.
  const run = `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}-${randomBytes(3).toString('hex')}`
  const objects = demoObjects(run)
  const rows: DemoRow[] = []
  const table = liveTable(
    head,
    process.stdout,
    ([, verdict, , action]) => verdict !== '…' && action !== 'delete',
  )
  const redraw = () => table.draw(rows.map(cellsOf))
  const receiver = await startReceiver({
    ...place,
    onMessage: ({ message, at }) => {
      if (takeMessage(rows, message, at)) redraw()
    },
  })
  const uploader = openUploader(access, access.uploader)
  try {
    say(
      `Uploading five objects to s3://${access.bucket}/demo/${run}/ and waiting for their webhooks on port ${receiver.port}`,
    )
    for (const { name, expected, body } of objects) {
      const row: DemoRow = {
        key: `demo/${run}/${name}`,
        expected,
        uploadedAt: Date.now(),
        complete: false,
      }
      rows.push(row)
      await uploader.put(row.key, body)
    }
    redraw()
    const deadline = Date.now() + timeoutMs
    while (rows.some(({ complete }) => !complete) && Date.now() < deadline) await sleep(50)
    redraw()
    return conclude(rows, receiver.refused)
  } finally {
    uploader.close()
    await receiver.close()
  }
}

function conclude(rows: readonly DemoRow[], refused: readonly string[]): number {
  if (refused.length > 0)
    throw new FatalError(
      `${refused.length} webhooks had a wrong signature: ${refused[0]}`,
      'is DEMO_SECRET the same for the notifier? make deploy again',
    )
  const missing = rows.filter(({ verdict }) => verdict === undefined)
  if (missing.length > 0)
    throw new FatalError(
      `no verdict came for ${missing.map(({ key }) => key).join(', ')}`,
      'make status and make logs show where they are stuck',
    )
  const wrong = rows.filter(({ verdict, expected }) => verdict !== expected)
  for (const { key, verdict, expected } of wrong)
    say(`WRONG: ${key} is ${verdict}, expected ${expected}`)
  const unfinished = rows.filter(({ complete }) => !complete)
  for (const { key } of unfinished)
    say(`UNFINISHED: ${key} was to be deleted, and no webhook says that it is`)
  if (wrong.length > 0 || unfinished.length > 0) return 1
  say('All five verdicts are right, and every webhook was signed correctly.')
  return 0
}

/** The demo inside a container of the deployment: everything comes from the environment. */
export function demoAccess(env: Readonly<Record<string, string | undefined>>): {
  access: UploaderAccess
  place: DemoPlace
} {
  const need = (name: string) => {
    const value = env[name]
    if (value === undefined || value === '')
      throw new FatalError(`${name} is not set`, 'the demo service of compose.yaml sets it')
    return value
  }
  const secret = need('DEMO_SECRET')
  const port = Number(new URL(need('DEMO_URL')).port || 80)
  const access: UploaderAccess = {
    endpoint: need('MINIO_SERVER_URL'),
    region: env['MINIO_REGION'] || 'eu-west-1',
    bucket: need('MINIO_BUCKET_NAME').split(',')[0]?.trim() ?? '',
    caFile: need('TLS_CA'),
    uploader: { user: need('MINIO_USER_NAME'), password: need('MINIO_USER_PASSWORD') },
  }
  return { access, place: { host: '0.0.0.0', port, secret } }
}
