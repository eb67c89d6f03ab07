// `sweep` on a real RabbitMQ with the reconciler's own rights. The reconciler's part is played by the test, so that it can be
// slow, away or busy with something else at the right moment.
import { expect } from 'chai'
import { createServer, type Server } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { names } from '../../services/shared/topology.ts'
import { openDeadLetters, type DeadLetters } from '../support/dead-letters.ts'
import { eventually } from '../support/eventually.ts'
import { noTlsRabbitmq, startTlsRabbitmq } from '../support/tls-rabbitmq.ts'

const bulk = 's3minioqueue.bulk'

interface Request {
  type: string
  data: { id: string; reason: string }
}

describe('sweep on a real RabbitMQ', function () {
  this.timeout(60_000)
  let commands: DeadLetters
  let server: Server
  let facts: object = {}

  before(async function () {
    if (noTlsRabbitmq !== undefined) this.skip()
    const broker = await startTlsRabbitmq()
    server = createServer((_, response) => response.writeHead(503).end(JSON.stringify(facts)))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    commands = await openDeadLetters(broker, { HTTP_PORT: String(port) })
  })
  after(async () => {
    server?.close()
    await commands?.close()
  })
  beforeEach(() => {
    facts = {}
  })

  const request = () =>
    eventually(async () => {
      const [found] = await commands.take(names.reconcile)
      if (found === undefined) throw new Error('nobody asked for a sweep')
      return { ...(JSON.parse(found.body) as Request), messageId: found.id }
    })

  it('asks for a sweep, watches it and the queue, and says how it ended', async () => {
    const { ended } = commands.spawn('sweep')
    const { type, data, messageId } = await request()
    expect({ type, reason: data.reason }).to.deep.equal({
      type: 'sweep.requested',
      reason: 'asked for',
    })
    expect(messageId).to.equal(data.id)

    const channel = await commands.channel()
    channel.publish(names.jobs, bulk, Buffer.from('{}'))
    await channel.waitForConfirms()
    const swept = { id: data.id, running: false, seen: 20_000, queued: 19_998 }
    facts = { sweeps: [{ ...swept, finishedAt: '2026-01-01T00:00:00Z' }] }
    await eventually(async () => (await channel.checkQueue(bulk)).messageCount === 1)
    await channel.purgeQueue(bulk)

    const { code, stdout, stderr } = await ended
    expect(code).to.equal(0)
    expect(stdout).to.match(
      /^20,000 objects seen, 19,998 queued, all have been worked off, \d+ s\n$/,
    )
    expect(stderr)
      .to.match(/^A sweep is asked for\./)
      .and.match(/^waiting for the reconciler/m)
  })

  it('does not end while jobs wait in the bulk lane', async () => {
    const channel = await commands.channel()
    channel.publish(names.jobs, bulk, Buffer.from('{}'))
    await channel.waitForConfirms()
    const { child, ended } = commands.spawn('sweep')
    let stderr = ''
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    const { data } = await request()
    facts = { sweep: { id: data.id, running: true, seen: 5, queued: 5 } }
    await eventually(() => stderr.includes('5 objects seen'), { timeoutMs: 20_000 })
    facts = { sweep: { id: data.id, seen: 5, queued: 5, finishedAt: '2026-01-01T00:00:00Z' } }
    await eventually(() => stderr.includes('1 wait to be scanned'), { timeoutMs: 20_000 })
    expect(child.exitCode).to.equal(null)

    await channel.purgeQueue(bulk)

    expect((await ended).stdout).to.match(/^5 objects seen, 5 queued, all have been worked off/)
  })

  it('stops watching at Ctrl-C, and says that the sweep goes on', async () => {
    const { child, ended } = commands.spawn('sweep')
    await request()

    child.kill('SIGINT')

    const { code, stdout, stderr } = await ended
    expect({ code, stdout }).to.deep.equal({ code: 0, stdout: '' })
    expect(stderr).to.match(/^No longer watching; the sweep goes on/m)
  })

  it('only asks with --no-wait', async () => {
    const { code, stdout } = await commands.run('sweep', '--no-wait')

    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: 'A sweep is asked for; make status shows how far it is.\n',
    })
    await request()
  })

  it('says so, and asks for nothing, when the reconciler does not run', async () => {
    commands.env['HTTP_PORT'] = '1'

    const { code, stderr } = await commands.run('sweep')

    expect(code).to.equal(1)
    expect(stderr).to.equal(
      'the reconciler does not answer at http://127.0.0.1:1/readyz\n' +
        'What to do: make status shows whether it runs, make start starts it; --no-wait asks for a sweep that begins when it does\n',
    )
    expect(await commands.count(names.reconcile)).to.equal(0)
  })
})
