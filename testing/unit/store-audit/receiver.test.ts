// Who may stay connected to the receiver: whoever has not shown the token must never keep the store out.
import { expect } from 'chai'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectPlain, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connect as connectTls } from 'node:tls'
import { Agent, request } from 'undici'
import { bounds, startReceiver, type Receiver } from '../../../services/store-audit/receiver.ts'
import { silentLog } from '../../../services/shared/log.ts'
import { eventually } from '../../support/eventually.ts'
import { testCertificate, type TestCertificate } from '../../support/test-certificate.ts'

const token = 'audit-token-0123456789abcdef01234567'
const most = 4
const head = `POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-length: 9\r\n\r\n`

describe('startReceiver', () => {
  let folder: string
  let certificate: TestCertificate
  let receiver: Receiver | undefined
  let taken: string[]
  let sockets: Socket[]

  const start = async (changes: Partial<typeof bounds> = {}) => {
    receiver = await startReceiver(
      {
        enabled: true,
        host: '127.0.0.1',
        port: 0,
        token,
        certificate: certificate.certFile,
        key: certificate.keyFile,
        folder,
        queueSize: 10,
      },
      async (body) => void taken.push(await text(body)),
      silentLog,
      { ...bounds, ...changes },
    )
  }
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'receiver-'))
    certificate = await testCertificate(folder)
  })
  after(() => rmSync(folder, { recursive: true }))
  beforeEach(() => {
    taken = []
    sockets = []
  })
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    await receiver?.close()
    receiver = undefined
  })

  const port = () => receiver?.port ?? 0
  const keep = <T extends Socket>(socket: T): T => {
    // One that the receiver closes may see a reset.
    socket.on('error', () => {})
    sockets.push(socket)
    return socket
  }
  const plain = async (localAddress = '127.0.0.1') => {
    const socket = keep(connectPlain({ port: port(), host: '127.0.0.1', localAddress }))
    await once(socket, 'connect')
    return socket
  }
  const encrypted = async () => {
    const socket = keep(connectTls({ port: port(), host: '127.0.0.1', ca: certificate.cert }))
    await once(socket, 'secureConnect')
    socket.resume()
    return socket
  }
  const post = async (agent: Agent, authorization = `Bearer ${token}`) => {
    const answer = await request(`https://127.0.0.1:${port()}/`, {
      method: 'POST',
      dispatcher: agent,
      headers: { authorization },
      body: '{}',
    })
    await answer.body.dump()
    return { status: answer.statusCode, connection: answer.headers['connection'] }
  }
  const withStore = async <T>(use: (agent: Agent) => Promise<T>): Promise<T> => {
    const agent = new Agent({ connect: { ca: certificate.cert } })
    try {
      return await use(agent)
    } finally {
      await agent.close()
    }
  }
  it('waits no longer than some seconds for whoever shows no token', () => {
    expect(Math.max(bounds.handshakeMs, bounds.headersMs, bounds.checkEveryMs)).to.be.most(5000)
    expect(bounds.tokenMs).to.be.most(10_000)
  })

  it('lets the store in when all connections are taken by others, and closes the oldest', async () => {
    await start({ most })
    const others: Socket[] = []
    for (let count = 0; count < most; count++) others.push(await encrypted())
    const [first] = others
    const closed = once(first as Socket, 'close')

    expect(await withStore((agent) => post(agent))).to.include({ status: 200 })

    await closed
    expect(others.slice(1).map(({ destroyed }) => destroyed)).to.deep.equal([false, false, false])
  })

  it('lets the store in during a flood of connections without TLS', async () => {
    await start({ most })
    for (let count = 0; count < 10 * most; count++) await plain()

    expect(await withStore((agent) => post(agent))).to.include({ status: 200 })
  })

  it('does not close one of the store that is about to begin TLS for a flood from elsewhere', async () => {
    await start({ most })
    const store = await plain()
    for (let count = 0; count < 3 * most; count++) await plain('127.0.0.2')

    const socket = keep(connectTls({ socket: store, host: '127.0.0.1', ca: certificate.cert }))
    await once(socket, 'secureConnect')
    socket.write(`${head}{"a":1}\n\n`)

    expect(String(await once(socket, 'data'))).to.match(/^HTTP\/1.1 200/)
  })

  it('never closes the connection of the store for others', async () => {
    await start({ most })
    const store = await encrypted()
    store.write(head)
    store.write('{"a":1')
    await eventually(() => receiver?.known === 1)

    for (let count = 0; count < 3 * most; count++) await plain()
    const answered = once(store, 'data')
    store.write('}\n\n')

    expect(String(await answered)).to.match(/^HTTP\/1.1 200/)
    expect(taken).to.deep.equal(['{"a":1}\n\n'])
  })

  it('takes no more connections with the token than it may have', async () => {
    await start({ most })
    for (let count = 0; count < most; count++) (await encrypted()).write(head)
    await eventually(() => receiver?.known === most)

    await once(await plain(), 'close')

    expect(receiver?.known).to.equal(most)
  })

  it('closes whoever does not begin TLS', async () => {
    await start({ handshakeMs: 100 })
    await once(await plain(), 'close')
  })

  it('closes whoever sends no request', async () => {
    await start({ headersMs: 100, checkEveryMs: 50 })
    await once(await encrypted(), 'close')
  })

  it('closes whoever has shown no token in time, whatever else it sends', async () => {
    await start({ tokenMs: 200 })
    const socket = await encrypted()
    const closed = once(socket, 'close')
    const drip = setInterval(() => socket.write('x'), 20)
    socket.write('POST / HTTP/1.1\r\nx: ')
    try {
      await closed
    } finally {
      clearInterval(drip)
    }
  })

  it('ends the connection with whoever has the wrong token', async () => {
    await start()
    const answer = await withStore((agent) => post(agent, `Bearer ${token}x`))
    expect(answer).to.deep.equal({ status: 401, connection: 'close' })
  })

  it('keeps the connection of the store', async () => {
    await start({ tokenMs: 100 })
    const store = await encrypted()
    store.write(`${head}{"a":1}\n\n`)
    await eventually(() => taken.length === 1)
    const stranger = await plain()
    // Younger than the store's, and closed for want of a token.
    await once(stranger, 'close')

    store.write(`${head}{"a":2}\n\n`)

    await eventually(() => taken.length === 2)
  })

  it('waits for a slow body with the token only so long', async () => {
    await start({ requestMs: 300, headersMs: 200, checkEveryMs: 50 })
    const socket = await encrypted()
    const closed = once(socket, 'close')
    socket.write(head)
    socket.write('{')
    await closed
    expect(taken).to.deep.equal([])
  })
})
