import { expect } from 'chai'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { watchStore } from '../../../services/reconciler/store-watch.ts'
import { eventually } from '../../support/eventually.ts'

describe('the watch over the store', () => {
  let server: Server
  let port = 0
  let sockets: Set<Socket>
  let connections = 0
  let lost: string[]
  let stop: AbortController
  let watching: Promise<void>

  const listen = async (onSocket: (socket: Socket) => void = () => {}) => {
    server = createServer((socket) => {
      connections++
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
      onSocket(socket)
    }).listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const end = async () => {
    server.close()
    for (const socket of sockets) socket.destroy()
    await once(server, 'close')
  }
  const watch = () => {
    watching = watchStore(`http://127.0.0.1:${port}`, (reason) => lost.push(reason), stop.signal)
  }
  beforeEach(() => {
    port = 0
    connections = 0
    lost = []
    sockets = new Set()
    stop = new AbortController()
  })
  afterEach(async () => {
    stop.abort(new Error('the test is over'))
    await watching
    if (server.listening) await end()
  })

  it('tells that it went away, each time, and while it stays away', async () => {
    await listen()
    watch()
    await eventually(() => connections === 1)
    await end()
    await eventually(() => lost.length >= 2)
    await listen()
    await eventually(() => connections === 2)
    const before = lost.length
    await end()
    await eventually(() => lost.length > before)

    expect(lost.join()).to.match(/went away \(ECONNREFUSED\)/)
  })

  it('tells it where the listener that dies takes one more connection', async () => {
    await listen()
    watch()
    await eventually(() => connections === 1)
    const [first] = sockets
    server.removeAllListeners('connection')
    server.on('connection', (socket) => socket.resetAndDestroy())
    first?.destroy()

    await eventually(() => lost.length === 1)
  })

  it('tells nothing where the store closes a silent connection and takes the next', async () => {
    await listen()
    watch()
    await eventually(() => connections === 1)
    for (const socket of sockets) socket.end()
    await eventually(() => connections === 2)
    for (const socket of sockets) socket.end()
    await eventually(() => connections === 3)

    expect(lost).to.deep.equal([])
  })

  it('tells it where there is none at the start', async () => {
    await listen()
    await end()
    watch()

    await eventually(() => lost.length >= 1)
  })
})
