// Stands before the real clamd and lets chosen objects do to it what a bad parser does: the engine dies or goes silent
// whenever bytes with a marker pass, each time anew.
import { rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'

export interface EngineFront {
  socket: string
  /** How often a marker passed. */
  readonly killed: number
  readonly hung: number
  close(): Promise<void>
}

export interface EngineFrontOptions {
  /** Where the workers find it, and where the real one listens. */
  socket: string
  engineSocket: string
  /** Text in an object; `kill` is to kill the engine. */
  killMarker: string
  kill(): Promise<void>
  /** From this text on nothing passes any more on that connection, in neither direction. */
  hangMarker: string
}

export async function startEngineFront(options: EngineFrontOptions): Promise<EngineFront> {
  const { socket: path, engineSocket, killMarker, hangMarker } = options
  const sockets = new Set<Socket>()
  const seen = { killed: 0, hung: 0 }
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    return socket
  }
  const server = createServer((client) => {
    keep(client)
    const engine = keep(connect(engineSocket))
    let tail = ''
    let hung = false
    client.on('data', (chunk: Buffer) => {
      if (hung) return
      // A marker may be cut in two.
      const text = tail + chunk.toString('latin1')
      tail = text.slice(-Math.max(killMarker.length, hangMarker.length))
      if (text.includes(hangMarker)) {
        hung = true
        seen.hung++
        return
      }
      if (!engine.write(chunk)) {
        client.pause()
        engine.once('drain', () => client.resume())
      }
      if (text.includes(killMarker)) {
        tail = ''
        seen.killed++
        void options.kill()
      }
    })
    engine.on('data', (chunk: Buffer) => {
      if (!hung) client.write(chunk)
    })
    for (const [one, other] of [
      [client, engine],
      [engine, client],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => {
        if (!hung || one === client) other.destroy()
      })
      one.on('end', () => other.end())
    }
  })
  rmSync(path, { force: true })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return {
    socket: path,
    get killed() {
      return seen.killed
    },
    get hung() {
      return seen.hung
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
