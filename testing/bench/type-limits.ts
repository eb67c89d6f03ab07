// What the largest objects cost that clamd unpacks or normalises by their type: seconds, peak memory, peak temporary files.
// node testing/bench/type-limits.ts [MiB …] [--kinds html-text,script …] [--signatures small|large] [--folder /dev/shm] [--limit MiB]
import { mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createClamd } from '../../services/avscan/engines/clamd.ts'
import { silentLog } from '../../services/shared/log.ts'
import { testSignatures } from '../../services/shared/test-signatures.ts'
import { eventually } from '../support/eventually.ts'
import { startBenchClamd } from './engine.ts'
import { largeSignatures } from './signatures.ts'
import { memoryMb, resetPeak } from './stage.ts'

const MiB = 1024 ** 2

/** begin, what is repeated, end: of each the kind of content that costs the most of its type */
const kinds: Record<string, [begin: string | Buffer, pad: string | Buffer, end: string]> = {
  'html-text': ['<html><body>', `<p>${'lorem ipsum dolor '.repeat(20)}</p>\n`, '</body></html>'],
  'html-tags': ['<html><body>', '<b a=b>x</b>', '</body></html>'],
  'html-script': ['<html><body><script>', 'a;', '</script></body></html>'],
  'html-words': ['<html><body><script>', 'var abcdefgh=12;', '</script></body></html>'],
  'html-renamed': ['<html><body>', `<script>var a;${'a;'.repeat(4000)}</script>`, '</body></html>'],
  'html-style': ['<html><style>', 'p { color: red; }\n', '</style></html>'],
  'html-data': [
    '<html><body><a href="data:application/octet-stream;base64,',
    'AAAA'.repeat(16),
    '">x</a></body></html>',
  ],
  'html-latin': ['<html><body>', Buffer.from([0xe9, 0x20]), '</body></html>'],
  script: ['', 'echo one two three\n', ''],
  pcre: [
    Buffer.from([0, 1, 2, 255]),
    Buffer.from(`pcre-trigger${'\x00'.repeat(500)}`, 'latin1'),
    '',
  ],
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kinds: { type: 'string' },
    signatures: { type: 'string', default: 'large' },
    folder: { type: 'string', default: '/dev/shm' },
    limit: { type: 'string', default: '1024' },
  },
})
const wanted = values.kinds?.split(',') ?? Object.keys(kinds)
const sizes = (positionals.length === 0 ? ['40', '256', '1024'] : positionals).map(Number)
const folder = join(values.folder, `type-limits-${process.pid}`)
const databases = join(folder, 'databases')
mkdirSync(databases, { recursive: true })
if (values.signatures === 'large') {
  const large = await largeSignatures(join(process.env['SIGNATURES_FOLDER'] ?? '.bench'))
  for (const name of readdirSync(large)) symlinkSync(join(large, name), join(databases, name))
} else await testSignatures(databases)
writeFileSync(
  join(databases, 'pcre.ldb'),
  `Bench.Pcre;Engine:81-255,Target:0;0&1;${Buffer.from('pcre-trigger').toString('hex')};0/begin[^x]{3}never$/\n`,
)

const clamd = await startBenchClamd({
  folder: join(folder, 'clamd'),
  databases,
  maxObjectBytes: Number(values.limit) * MiB,
  threads: 2,
})
const engine = createClamd(
  {
    socket: clamd.socket,
    host: '',
    port: 0,
    connections: 1,
    maxBytes: Number(values.limit) * MiB,
    timeoutMs: 900_000,
    stallMs: 900_000,
    signatureSet: 'custom',
    breaker: { failures: 5, openMs: 500, successes: 3 },
  },
  silentLog,
)
const temporary = join(folder, 'clamd', 'tmp')
try {
  await engine.probe(new AbortController().signal)
  console.log(`clamd with its signatures: ${memoryMb(clamd.pid).now.toFixed(0)} MB`)
  for (const kind of wanted)
    for (const size of sizes) {
      await eventually(() => bytesIn(temporary) === 0, { timeoutMs: 60_000 })
      resetPeak(clamd.pid)
      const before = memoryMb(clamd.pid).now
      let files = 0
      const watch = setInterval(() => (files = Math.max(files, bytesIn(temporary))), 50)
      const begun = performance.now()
      const answer = await scanOf(kind, size * MiB).catch((error: Error) => error.message)
      const seconds = (performance.now() - begun) / 1000
      clearInterval(watch)
      const peak = memoryMb(clamd.pid).peak
      console.log(
        `${kind} ${size} MiB: ${seconds.toFixed(1)} s, memory +${(peak - before).toFixed(0)} MB, ` +
          `temporary files ${(files / 1e6).toFixed(0)} MB (${(files / (size * MiB)).toFixed(1)} x), ${answer}`,
      )
    }
} finally {
  await engine.close()
  await clamd.close()
  rmSync(folder, { recursive: true, force: true })
}

async function scanOf(kind: string, bytes: number): Promise<string> {
  const content = kinds[kind]
  if (content === undefined) throw new Error(`no kind ${kind}`)
  const [begin, pad, end] = content.map((part) => Buffer.from(part)) as [Buffer, Buffer, Buffer]
  const block = Buffer.concat(
    Array.from({ length: Math.ceil((256 * 1024) / pad.length) }, () => pad),
  )
  const stream = await engine.open(bytes, new AbortController().signal)
  await stream.write(begin)
  let left = bytes - begin.length - end.length
  for (; left > 0; left -= Math.min(left, block.length))
    await stream.write(block.subarray(0, Math.min(left, block.length)))
  await stream.write(end)
  return JSON.stringify(await stream.end())
}

function bytesIn(path: string): number {
  try {
    const stat = statSync(path)
    if (!stat.isDirectory()) return stat.blocks * 512
    return readdirSync(path).reduce((sum, name) => sum + bytesIn(join(path, name)), 0)
  } catch {
    return 0
  }
}
