// Commands that take over the terminal: their output, their exit code, and signals.
import { expect } from 'chai'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

const module = join(import.meta.dirname, '../../services/cli/run-command.ts')

/** A process that runs `script` by runAttached and ends with its exit code. */
function attached(script: string) {
  const program = `import { runAttached } from ${JSON.stringify(module)}
    process.exitCode = await runAttached([process.execPath, '-e', ${JSON.stringify(script)}])`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  return { child, ended: once(child, 'exit') as Promise<[number | null, string | null]> }
}

// Says when it listens, and ends with another code for each signal.
const listener = `
  process.once('SIGINT', () => process.exit(3)).once('SIGTERM', () => process.exit(4))
  setInterval(() => {}, 1000)
  console.log('listening')`

describe('runAttached', () => {
  it('passes both outputs through and returns the exit code', async () => {
    const { child, ended } = attached(
      `console.log('to stdout'); console.error('to stderr'); process.exitCode = 7`,
    )
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])

    expect([out, err]).to.eql(['to stdout\n', 'to stderr\n'])
    expect(await ended).to.eql([7, null])
  })

  it('lets a command end in its own way when somebody sends SIGTERM', async () => {
    const { child, ended } = attached(listener)
    await once(child.stdout, 'data')
    child.kill('SIGTERM')

    expect(await ended).to.eql([4, null])
  })

  it('waits for a command that the terminal has told to stop', async () => {
    const { child, ended } = attached(listener)
    await once(child.stdout, 'data')
    // As a terminal does: to the whole group.
    process.kill(-(child.pid ?? 0), 'SIGINT')

    expect(await ended).to.eql([3, null])
  })
})
