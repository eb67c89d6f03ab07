// Keys that mean something to a file system, a terminal, a browser or a parser; those that the store refuses come as forged events.
import { existsSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { names } from '../../../services/shared/topology.ts'
import { runCli } from '../../support/deployment.ts'
import { samples } from '../../support/samples.ts'
import { sha256 } from '../mix.ts'
import { forgedMessages } from '../support/mutate.ts'
import { workersUnharmed } from '../support/unharmed.ts'
import type { FaultContext, Row } from '../types.ts'

const mark = 'avscan-escape'

const hostileKeys: readonly string[] = [
  `../${mark}-1`,
  `../../../../../../../../tmp/${mark}-2`,
  `a/../../${mark}-3`,
  `/tmp/${mark}-4`,
  `./${mark}-5`,
  `%2e%2e%2f%2e%2e%2f${mark}-6`,
  `..\\..\\${mark}-7`,
  `C:\\${mark}-8`,
  'null\u0000byte',
  'bell\u0007 and escape \u001b[2J\u001b]0;title\u0007',
  'c1 \u009b2J',
  'new\nline {"level":"info","message":"forged"}',
  'carriage\rreturn',
  'tab\tvertical\u000bform\u000c',
  'delete\u007f',
  'right-to-left \u202egpj.exe',
  'zero\u200bwidth\ufeff',
  'line\u2028separator',
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  '${jndi:ldap://127.0.0.1/a}',
  '$(touch /tmp/avscan-escape-9)',
  '`touch /tmp/avscan-escape-10`',
  "'; drop table objects; --",
  '&amp;&#x2e;&lt;',
  ']]><x/>',
  '?versionId=null&tagging#fragment',
  '-rf *',
  '~',
  '.',
  '..',
  ' ',
  'trailing space ',
  'trailing dot.',
  'CON',
  '💣'.repeat(200),
  'x'.repeat(1024),
  `${'x'.repeat(200)}/`.repeat(4),
  '__proto__',
  'constructor/prototype',
]

/** What the store takes is judged; the keys that it refuses are returned. */
async function upload({ traffic, uploader }: FaultContext): Promise<string[]> {
  const refused: string[] = []
  for (const [index, hostile] of hostileKeys.entries())
    for (const expected of ['clean', 'infected'] as const) {
      const bytes = Buffer.concat([
        expected === 'infected' ? samples.eicar() : Buffer.from('a letter'),
        Buffer.from(`\n${traffic.prefix}${index}`),
      ])
      // Not below the row's own prefix: VersityGW lists some of them in another form. And deep enough for `..`: a version
      // that is overwritten while another one is deleted is lost by VersityGW itself.
      const key = `hostile-${traffic.prefix}${expected}/x/y/${hostile}`.slice(0, 1024)
      try {
        const { versionId, etag } = await uploader.put(key, bytes)
        traffic.uploads.push({
          key,
          versionId,
          etag,
          size: bytes.length,
          sha256: sha256(bytes),
          expected,
          tags: {},
          deleted: false,
          answered: true,
          what: JSON.stringify(hostile.slice(0, 40)),
        })
      } catch {
        refused.push(key, hostile)
      }
    }
  return refused
}

/** Files named after a key. */
function escaped({ parts }: FaultContext): string[] {
  const { runDir, scan } = parts.layout
  return [tmpdir(), '/tmp', '/', runDir, scan, join(runDir, '..')].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder).filter((name) => name.includes(mark)) : [],
  )
}

// C0 but for newline and tab, DEL, C1, and the marks that turn text around.
// oxlint-disable-next-line no-control-regex
const dangerous = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2028\u2029]/

export const hostileKeyRows: readonly Row[] = [
  {
    name: 'hostile-keys',
    title: 'hostile keys, as objects and as forged events',
    objects: 100,
    async inject(context) {
      const { broker, deployment, parts, say, traffic, uploader } = context
      const { bucket } = uploader
      const unharmed = workersUnharmed(parts)
      const refused = await upload(context)
      const forged = [...new Set([...refused, ...hostileKeys])].flatMap((key) =>
        forgedMessages({ bucket, key, versionId: undefined, etag: '0'.repeat(32) }),
      )
      await broker.publish(names.jobs, broker.config.broker.queue, forged)
      await traffic.done()
      say(`${hostileKeys.length * 2} keys, ${refused.length / 2} of them refused by the store`)
      await context.recovered()
      unharmed()
      const left = escaped(context)
      if (left.length > 0) throw new Error(`files outside the scan folder: ${left.join(', ')}`)
      const logs = await runCli(['logs'], deployment.env)
      const line = logs.split('\n').find((text) => dangerous.test(text))
      if (line !== undefined)
        throw new Error(`make logs speaks to the terminal: ${JSON.stringify(line.slice(0, 300))}`)
    },
    expectations: { dead: () => true, quietMs: 180_000 },
  },
]
