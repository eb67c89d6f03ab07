// `dead` and `replay` on a real RabbitMQ with the reconciler's own rights: looking takes nothing away, and replaying loses
// nothing, whoever is killed meanwhile.
import { expect } from 'chai'
import { names } from '../../services/shared/topology.ts'
import { openDeadLetters, type DeadLetters } from '../support/dead-letters.ts'
import { eventually } from '../support/eventually.ts'
import {
  noTlsRabbitmq,
  startOwnTlsRabbitmq,
  startTlsRabbitmq,
  type TlsRabbitmq,
} from '../support/tls-rabbitmq.ts'

const queue = 's3minioqueue'
/** Seen while it lasts, and waited for on a busy machine. */
const soon = { everyMs: 1, timeoutMs: 60_000 }
const sorted = (values: unknown[]) => values.map(String).toSorted((a, b) => a.localeCompare(b))
/** Without those that this delivery and this publication have made. */
const keptHeaders = (headers: Record<string, unknown> = {}) =>
  Object.fromEntries(
    Object.entries(headers).filter(
      ([name]) => !['avscan-publish', 'x-delivery-count'].includes(name),
    ),
  )
const ids = (count: number, prefix = 'm') =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)

describe('dead letters on a real RabbitMQ', function () {
  this.timeout(240_000)
  let broker: TlsRabbitmq
  let letters: DeadLetters

  before(async function () {
    if (noTlsRabbitmq !== undefined) this.skip()
    broker = await startTlsRabbitmq()
    letters = await openDeadLetters(broker)
  })
  after(() => letters?.close())
  beforeEach(async () => {
    const channel = await letters.channel()
    for (const name of [queue, names.dead, 'avscan.notify']) await channel.purgeQueue(name)
  })

  const idsIn = async (name: string) => (await letters.take(name)).map(({ id }) => id)
  const allBack = (count: number) =>
    eventually(async () => (await letters.count(names.dead)) === count, soon)
  /** A message that its own queue dead-letters, as one that kills its workers does. */
  const killByReturning = async (id: string) => {
    const channel = await letters.channel()
    const body = Buffer.from(JSON.stringify({ objects: [{ bucket: 'b', key: 'killer' }] }))
    const options = { persistent: true, messageId: id, type: 'test', headers: { mine: 'kept' } }
    channel.publish(names.jobs, queue, body, options)
    await channel.waitForConfirms()
    await eventually(async () => {
      const message = await channel.get(queue)
      if (message !== false) channel.nack(message, false, true)
      return (await letters.count(names.dead)) > 0
    })
  }

  describe('dead', () => {
    it('says so when nothing is dead, and that is fine', async () => {
      expect(await letters.run('dead')).to.deep.equal({
        code: 0,
        stdout: '',
        stderr: 'nothing is dead\n',
      })
    })

    it('shows the oldest ones, says how many more there are, and leaves all in their order', async () => {
      await letters.put(300)

      const { code, stdout, stderr } = await letters.run('dead', '--limit', '2')

      expect(code).to.equal(0)
      expect(stdout.split('\n')).to.deep.equal([
        'age  reason  queue         attempts  object  last error',
        '1m   Error   s3minioqueue  5         b/k/0   scan: broken',
        '1m   Error   s3minioqueue  5         b/k/1   scan: broken',
        '',
      ])
      expect(stderr).to.equal('300 dead; 298 more than are shown (--limit)\n')
      expect(await idsIn(names.dead)).to.deep.equal(ids(300))
    })

    it('finds what fits behind everything else, and leaves thousands in their order', async () => {
      await letters.put(5000)

      const { stdout, stderr } = await letters.run('dead', '--key', 'k/499', '--json')

      const found = stdout.trimEnd().split('\n')
      expect(found.map((line) => (JSON.parse(line) as { messageId: string }).messageId)).to.eql([
        'm499',
        ...Array.from({ length: 10 }, (_, index) => `m499${index}`),
      ])
      expect(stderr).to.equal('11 of 5,000 dead letters fit\n')
      await allBack(5000)
      expect(await idsIn(names.dead)).to.deep.equal(ids(5000))
    })

    it('may be run twice at the same time', async () => {
      await letters.put(3000)

      const runs = await Promise.all([
        letters.run('dead', '--reason', 'none'),
        letters.run('dead', '--reason', 'none'),
      ])

      expect(runs.map(({ code }) => code)).to.deep.equal([0, 0])
      await allBack(3000)
      expect(sorted(await idsIn(names.dead))).to.deep.equal(sorted(ids(3000)))
    })

    it('gives everything back when it is killed', async () => {
      await letters.put(3000)
      const { child, ended } = letters.spawn('dead', '--reason', 'none')
      await eventually(async () => (await letters.count(names.dead)) < 3000, soon)

      child.kill('SIGKILL')

      await ended
      await allBack(3000)
    })

    it('shows why and where a message died that the broker dead-lettered itself', async () => {
      await killByReturning('killer')

      const { stdout } = await letters.run('dead')

      expect(stdout).to.match(/^\ds +delivery_limit +s3minioqueue +b\/killer$/m)
    })

    it('calls no queue empty that has no leader', async () => {
      await letters.put(3)
      const leader = `{'${letters.vhost}_${names.dead}', node()}`
      await broker.ctl('eval', `ra:stop_server(quorum_queues, ${leader}).`)

      const { code, stderr } = await letters.run('replay')

      await broker.ctl('eval', `ra:restart_server(quorum_queues, ${leader}).`)
      expect(code).to.equal(1)
      expect(stderr).to.match(/queue avscan.dead of broker \S+ does not answer/)
      await allBack(3)
    })

    it('refuses what it does not know, with its usage', async () => {
      const wrong = await letters.run('dead', '--all')

      expect(wrong.code).to.equal(2)
      expect(wrong.stderr).to.match(/Unknown option '--all'[^]*usage: command.ts/)
      expect((await letters.run('dead', '--limit', 'x')).stderr).to.contain(
        '--limit x is no number',
      )
      expect((await letters.run('dead', '--older-than', '2')).stderr).to.contain('is no duration')
    })
  })

  describe('replay', () => {
    it('sends all back in their order, as if they had never been tried', async () => {
      await letters.put(20, { headers: { mine: 'kept', 'x-foreign': 'dropped' } })

      const { code, stdout } = await letters.run('replay')

      expect(code).to.equal(0)
      expect(stdout)
        .to.match(/^s3minioqueue {2}20$/m)
        .and.match(/^20 sent back in [\d.]+ s$/m)
      const found = await letters.take(queue)
      expect(found.map(({ id }) => id)).to.deep.equal(ids(20))
      expect(found[7]).to.deep.include({
        type: 'test',
        body: '{"objects":[{"bucket":"b","key":"k/7"}],"trigger":{"kind":"sweep","id":"s"}}',
      })
      expect(keptHeaders(found[7]?.headers)).to.deep.equal({ mine: 'kept', 'avscan-replayed': 1 })
      expect(await letters.count(names.dead)).to.equal(0)
    })

    it('sends only what fits, each to its own queue; the others stay in their order', async () => {
      await letters.put(500)
      await letters.put(2, { prefix: 'n', origin: 'avscan.notify' })

      const live = await letters.run('replay', '--key', 'k/1', '--origin', queue)
      const notify = await letters.run('replay', '--origin', 'avscan.notify', '--limit', '1')

      expect([live.code, notify.code]).to.deep.equal([0, 0])
      const fitting = ids(500).filter((id) => id.startsWith('m1'))
      expect(await idsIn(queue)).to.deep.equal(fitting)
      expect(await idsIn('avscan.notify')).to.deep.equal(['n0'])
      await allBack(500 + 1 - fitting.length)
      expect(await idsIn(names.dead)).to.deep.equal([
        ...ids(500).filter((id) => !id.startsWith('m1')),
        'n1',
      ])
    })

    it('only says what it would do when asked so', async () => {
      await letters.put(3)
      await letters.put(1, { prefix: 'n', origin: 'avscan.notify.gone' })

      const { code, stdout } = await letters.run('replay', '--dry-run')

      expect(code).to.equal(1)
      expect(stdout).to.match(/^3 would be sent back$/m)
      expect(stdout).to.match(/^1 stay, for there is no queue avscan.notify.gone any more$/m)
      expect(await idsIn(names.dead)).to.deep.equal([...ids(3), 'n0'])
    })

    it('keeps what has nowhere to go, says why, and sends the rest', async () => {
      await letters.put(2, { prefix: 'gone', origin: 'avscan.notify.gone' })
      await letters.put(1, { prefix: 'own', origin: names.dead })
      await letters.put(1, { prefix: 'un', origin: '' })
      await letters.put(2)

      const { code, stdout } = await letters.run('replay')

      expect(code).to.equal(1)
      expect(await idsIn(queue)).to.deep.equal(ids(2))
      expect(stdout).to.match(/^2 stay, for there is no queue avscan.notify.gone any more$/m)
      expect(stdout).to.match(/^1 stay, for nothing says where they come from$/m)
      expect(stdout).to.match(/^1 stay, for they come from avscan.dead itself$/m)
      expect(await idsIn(names.dead)).to.deep.equal(['gone0', 'gone1', 'own0', 'un0'])
    })

    it('sends back what the broker dead-lettered, without its headers, so that it can be tried again', async () => {
      await killByReturning('killer')

      expect((await letters.run('replay')).code).to.equal(0)

      const [found] = await letters.take(queue)
      expect(found).to.include({ id: 'killer', type: 'test' })
      expect(keptHeaders(found?.headers)).to.deep.equal({ mine: 'kept', 'avscan-replayed': 1 })
    })

    it('replays nothing in circles: what dies again meanwhile stays', async () => {
      await letters.put(50)
      const channel = await letters.channel()
      const { consumerTag } = await channel.consume(queue, (message) => {
        if (message === null) return
        const { messageId, type } = message.properties
        channel.publish(names.jobs, names.dead, message.content, {
          messageId: messageId as string,
          type: type as string,
          headers: { 'avscan-origin': queue, 'avscan-reason': 'Error' },
        })
        channel.ack(message)
      })

      const { stdout } = await letters.run('replay')

      await allBack(50)
      await channel.cancel(consumerTag)
      expect(stdout).to.match(/^50 sent back/m)
    })

    it('loses nothing and repeats nothing when two run at the same time', async () => {
      await letters.put(400)

      const runs = await Promise.all([letters.run('replay'), letters.run('replay')])
      const rest = await letters.run('replay')

      expect([...runs, rest].map(({ code }) => code)).to.deep.equal([0, 0, 0])
      expect(await letters.count(names.dead)).to.equal(0)
      expect(sorted(await idsIn(queue))).to.deep.equal(sorted(ids(400)))
    })

    it('loses nothing while others look and new letters arrive', async () => {
      await letters.put(300)
      const replaying = letters.run('replay')
      const looks = [letters.run('dead', '--key', 'x'), letters.run('dead', '--json')]
      await letters.put(100, { prefix: 'late' })

      const runs = await Promise.all([replaying, ...looks])
      const rest = await letters.run('replay')

      expect([...runs, rest].map(({ code }) => code)).to.deep.equal([0, 0, 0, 0])
      expect(sorted(await idsIn(queue))).to.deep.equal(sorted([...ids(300), ...ids(100, 'late')]))
      expect(await letters.count(names.dead)).to.equal(0)
    })

    it('loses nothing when it is killed, and repeats one message at most', async () => {
      await letters.put(400)
      const kills = 3
      for (let kill = 1; kill <= kills; kill++) {
        const { child, ended } = letters.spawn('replay')
        await eventually(async () => (await letters.count(queue)) >= kill * 50, soon)
        child.kill('SIGKILL')
        expect((await ended).code).to.equal(null)
        await eventually(async () =>
          (await letters.channel())
            .checkQueue(names.dead)
            .then(({ consumerCount }) => consumerCount === 0),
        )
      }
      expect(await letters.count(queue)).to.be.lessThan(400)

      await letters.run('replay')

      const found = await idsIn(queue)
      expect(new Set(found).size).to.equal(400)
      expect(found.length - 400).to.be.within(0, kills)
      expect(await letters.count(names.dead)).to.equal(0)
    })

    it('stops at Ctrl-C with everything in its place', async () => {
      await letters.put(400)
      const { child, ended } = letters.spawn('replay')
      await eventually(async () => (await letters.count(queue)) >= 50, soon)

      child.kill('SIGINT')

      const { code, stdout } = await ended
      expect(code).to.equal(1)
      expect(stdout).to.match(/^ended early: stopped by SIGINT$/m)
      const sent = await idsIn(queue)
      expect([...sent, ...(await idsIn(names.dead))]).to.deep.equal(ids(400))
      expect(stdout).to.match(new RegExp(`^${sent.length} sent back`, 'm'))
    })

    it('sends 5,000 back in reasonable time', async () => {
      await letters.put(5000)

      const { stdout } = await letters.run('replay')

      expect(stdout).to.match(/^5,000 sent back in/m)
      expect(await letters.count(queue)).to.equal(5000)
    })
  })
})

describe('replay while the broker is killed', function () {
  this.timeout(240_000)

  it('says so, loses nothing, and the next one sends the rest', async function () {
    if (noTlsRabbitmq !== undefined) this.skip()
    const broker = await startOwnTlsRabbitmq()
    const letters = await openDeadLetters(broker)
    await broker.keepQueues()
    await letters.put(400)
    const { child, ended } = letters.spawn('replay')
    await eventually(async () => (await letters.count(queue)) >= 100, soon)

    await broker.kill()

    const { code, stdout } = await ended
    expect(child.signalCode).to.equal(null)
    expect(code).to.equal(1)
    expect(stdout).to.match(/^ended early: .*(connection|channel).*\nNothing is lost/m)
    await broker.start()
    const next = await letters.run('replay')
    expect(next.code, next.stderr).to.equal(0)
    const found = (await letters.take(queue)).map(({ id }) => id)
    expect(new Set(found).size).to.equal(400)
    expect(found.length).to.be.within(400, 401)
    await letters.close()
  })
})
