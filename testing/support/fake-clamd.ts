// A clamd that speaks IDSESSION with INSTREAM, PING and VERSION like the real one, on TCP and a unix socket, and
// answers one armed stream with any of the hostile replies that a real clamd has been seen to give.
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { judge } from './fake-judge.ts'
import type { Hostility } from './hostile-replies.ts'

export interface FakeClamd {
  port: number
  socket: string
  /** the answer to VERSION */
  version: string
  /** signature for bytes; undefined is clean */
  judge: (bytes: Buffer) => string | undefined
  /** what the next stream that begins is answered */
  arm(hostility: Hostility): void
  /** asked at the first frame of a stream that nothing is armed for; a reply `at` the command is given then too */
  hostileTo: (firstBytes: Buffer) => Hostility | undefined
  /** as SIGSTOP: bytes stay in the socket */
  freeze(): void
  thaw(): void
  readonly seen: {
    connections: number
    open: number
    busiest: number
    commands: string[]
    frames: number[]
    complete: number
  }
  /** as kill -9, and `start` again on the same addresses */
  kill(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
}

export async function startFakeClamd(
  options: { maxScanBytes?: number; host?: string; port?: number } = {},
): Promise<FakeClamd> {
  const folder = await mkdtemp(join(tmpdir(), 'fake-clamd-'))
  const sockets = new Set<Socket>()
  const limits = { maxScanBytes: options.maxScanBytes ?? 400_000_000 }
  let servers: Server[] = []
  let armed: Hostility | undefined
  const fake: FakeClamd = {
    port: options.port ?? 0,
    socket: join(folder, 'clamd.sock'),
    version: 'ClamAV 1.4.6/27800/Fri Nov 20 09:12:47 2026',
    judge: (bytes) => judge(bytes, limits),
    arm: (hostility) => (armed = hostility),
    hostileTo: () => undefined,
    freeze: () => sockets.forEach((socket) => socket.pause()),
    thaw: () => sockets.forEach((socket) => socket.resume()),
    seen: { connections: 0, open: 0, busiest: 0, commands: [], frames: [], complete: 0 },
    kill: async () => {
      const stopped = servers.map((server) => new Promise((resolve) => server.close(resolve)))
      for (const socket of sockets) socket.destroy()
      servers = []
      await Promise.all(stopped)
    },
    start: async () => {
      servers = [createServer(serve), createServer(serve)]
      const [tcp, unix] = servers as [Server, Server]
      await new Promise<void>((resolve) =>
        tcp.listen(fake.port, options.host ?? '127.0.0.1', resolve),
      )
      await new Promise<void>((resolve) => unix.listen(fake.socket, resolve))
      const address = tcp.address()
      if (address !== null && typeof address === 'object') fake.port = address.port
    },
    close: async () => {
      await fake.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }

  function serve(socket: Socket): void {
    sockets.add(socket)
    fake.seen.connections++
    fake.seen.open++
    let input: Buffer = Buffer.alloc(0)
    let id = 0
    let stream: { id: number; parts: Buffer[]; hostility: Hostility | undefined } | undefined
    let silent = false

    const hostile = (at: Hostility['at']): boolean => {
      if (stream?.hostility?.at !== at) return false
      const { reply, after } = stream.hostility
      silent = true
      socket.write(reply(stream.id), 'latin1')
      if (after === 'reset') socket.resetAndDestroy()
      if (after === 'close') socket.end()
      // An answer in good shape is followed by good manners: only what was armed is wrong.
      if (after === undefined && at === 'complete') {
        silent = false
        stream = undefined
      }
      return true
    }
    const command = (text: string): unknown => {
      fake.seen.commands.push(text)
      if (text === 'zIDSESSION') return undefined
      if (text === 'zEND') return socket.end()
      id++
      if (text === 'zPING') return socket.write(`${id}: PONG\0`)
      if (text === 'zVERSION') return socket.write(`${id}: ${fake.version}\0`)
      if (text !== 'zINSTREAM') return socket.end('UNKNOWN COMMAND\0')
      stream = { id, parts: [], hostility: armed }
      armed = undefined
      return hostile('command')
    }
    const frame = (bytes: Buffer) => {
      if (!stream) return
      if (bytes.length > 0) {
        fake.seen.frames.push(bytes.length)
        stream.parts.push(bytes)
        if (stream.parts.length === 1) stream.hostility ??= fake.hostileTo(bytes)
        if (stream.hostility?.at === 'command') hostile('command')
        else hostile('frame')
        return
      }
      fake.seen.complete++
      if (hostile('complete')) return
      const signature = fake.judge(Buffer.concat(stream.parts))
      socket.write(
        `${stream.id}: stream: ${signature === undefined ? 'OK' : `${signature} FOUND`}\0`,
      )
      stream = undefined
    }
    const step = (): boolean => {
      if (silent) return false
      if (stream) {
        if (input.length < 4) return false
        const length = input.readUInt32BE(0)
        if (input.length < 4 + length) return false
        const bytes = input.subarray(4, 4 + length)
        input = input.subarray(4 + length)
        frame(bytes)
        return true
      }
      const end = input.indexOf(0)
      if (end < 0) return false
      const text = input.toString('latin1', 0, end)
      input = input.subarray(end + 1)
      command(text)
      return true
    }
    socket.on('data', (data: Buffer) => {
      input = input.length === 0 ? data : Buffer.concat([input, data])
      while (step());
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      fake.seen.open--
      sockets.delete(socket)
    })
  }

  await fake.start()
  return fake
}
