// The life of a service as a child process: signals, exit codes and last words.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'chai'

const shared = new URL('../../../services/shared/', import.meta.url)

/** Runs a service whose start is `body`; `said` hears each chunk of its output. */
async function run(
  body: string,
  options: {
    env?: Record<string, string>
    args?: string[]
    said?: (output: string, kill: (signal: NodeJS.Signals) => void) => void
  } = {},
): Promise<{ code: number | null; output: string }> {
  const source = `
    import { runService } from ${JSON.stringify(new URL('lifecycle.ts', shared).href)}
    import { FatalError } from ${JSON.stringify(new URL('errors.ts', shared).href)}
    const keepAlive = setInterval(() => {}, 1000)
    await runService('avscan', { required: ['store.user'] }, async ({ log, signal, defer }) => {
      defer(() => clearInterval(keepAlive))
      ${body}
    })`
  const flags = ['--input-type=module-typescript', '--eval', source, '--', ...(options.args ?? [])]
  const child = spawn(process.execPath, flags, {
    env: { AVSCAN_STORE_USER: 'u', LOG_FORMAT: 'text', ...options.env },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      options.said?.(output, (signal) => child.kill(signal))
    })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, output }
}

describe('runService', function () {
  this.timeout(15_000)

  it('drains at the first signal, last acquired first released, and exits 0', async () => {
    let sent = false
    const { code, output } = await run(
      `defer(() => log.info('first released last'))
       defer(async () => { await null; log.info('last released first') })
       log.info('ready')`,
      {
        said: (text, kill) => {
          if (!text.includes('ready') || sent) return
          sent = true
          kill('SIGTERM')
        },
      },
    )

    expect(code).to.equal(0)
    expect(output).to.match(
      /starting[^]*ready[^]*stopping[^]*last released first[^]*first released last[^]*stopped/,
    )
  })

  it('exits 1 at once at another signal while it drains', async () => {
    let impatient: NodeJS.Timeout | undefined
    const { code, output } = await run(
      `defer(() => { log.info('draining'); return new Promise(() => {}) })
       log.info('at work')
       process.kill(process.pid, 'SIGTERM')`,
      {
        said: (text, kill) => {
          // Two signals within 250 ms are one wish: the group of a terminal gets both.
          if (text.includes('draining')) impatient ??= setInterval(() => kill('SIGINT'), 250)
        },
      },
    )
    clearInterval(impatient)

    expect(code).to.equal(1)
    expect(output).to.include('second signal, exiting at once')
  })

  it('prints all problems of a bad configuration and exits 1', async () => {
    const { code, output } = await run('', {
      env: { AVSCAN_STORE_USER: '', RABBITMQ_PORT: '15672', TAG_FILES: 'maybe' },
    })

    expect(code).to.equal(1)
    expect(output).to.include('avscan: the configuration has 3 problem(s)\n')
    expect(output)
      .to.include('RABBITMQ_PORT')
      .and.to.include('TAG_FILES')
      .and.to.include('AVSCAN_STORE_USER')
  })

  it('only looks at the configuration when asked to, and keeps secrets to itself', async () => {
    const { code, output } = await run("throw new Error('started')", {
      args: ['--check-config'],
      env: { AVSCAN_STORE_PASSWORD: 'hunter2' },
    })

    expect(code).to.equal(0)
    expect(output)
      .to.match(/the configuration is good\n$/)
      .and.not.to.include('hunter2')
  })

  it('says in one sentence with a hint what only a person can mend, releases and exits 1', async () => {
    const { code, output } = await run(
      `defer(() => log.info('released'))
       throw new FatalError('the queue is missing', 'run init broker', { cause: new Error('404') })`,
    )

    expect(code).to.equal(1)
    expect(output).to.include('[avscan] error: the queue is missing: 404 - run init broker\n')
    expect(output).to.include('released')
  })

  it('exits 1 when something cannot be released, and releases the rest', async () => {
    const { code, output } = await run(
      `defer(() => log.info('the rest'))
       defer(() => { throw new Error('stuck') })
       throw new Error('broken')`,
    )

    expect(code).to.equal(1)
    expect(output).to.include('cannot go on error=broken').and.to.include('release error=stuck')
    expect(output).to.include('the rest')
  })

  it('exits 0 when it is stopped while it still starts', async () => {
    const { code } = await run(
      `log.info('waiting')
       await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))`,
      { said: (text, kill) => text.includes('waiting') && kill('SIGTERM') },
    )

    expect(code).to.equal(0)
  })
})
