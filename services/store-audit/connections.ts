// Who may stay connected. Whoever has not shown the token leaves soon, and at once when there are too many, so that the store always
// gets in.
import type { Server } from 'node:https'
import type { Socket } from 'node:net'

export interface ConnectionBounds {
  most: number
  /** So long may a connection be open, TLS and all, before it has shown the token. */
  tokenMs: number
}

interface Connection {
  socket: Socket
  address: string
  /** Until it has shown the token. */
  timer?: NodeJS.Timeout | undefined
}

export function boundConnections(server: Server, { most, tokenMs }: ConnectionBounds) {
  /** By the other end, for a request has the TLS socket and this is the one below it. Oldest first. */
  const open = new Map<string, Connection>()

  const strangers = () => [...open.values()].filter(({ timer }) => timer !== undefined)

  const leave = (place: string, connection: Connection) => {
    clearTimeout(connection.timer)
    if (open.get(place) === connection) open.delete(place)
  }

  server.on('connection', (socket: Socket) => {
    const place = placeOf(socket)
    // It has gone already.
    if (place === undefined) {
      socket.destroy()
      return
    }
    const address = socket.remoteAddress ?? ''
    const connection: Connection = { socket, address }
    connection.timer = setTimeout(() => socket.destroy(), tokenMs)
    socket.once('close', () => leave(place, connection))
    open.set(place, connection)
    if (open.size <= most) return
    // With the new one among them: when all others have shown the token, it is the one to go.
    const [victim] = crowd(strangers())
    victim?.socket.destroy()
    // `close` comes later, and the next connection must not find this one again.
    for (const [at, one] of open) if (one === victim) leave(at, one)
  })

  return {
    /** The connection of this request has shown the token. */
    know(socket: Socket): void {
      const connection = open.get(placeOf(socket) ?? '')
      clearTimeout(connection?.timer)
      if (connection !== undefined) connection.timer = undefined
    },
    /** How many have shown the token. */
    get known(): number {
      return open.size - strangers().length
    },
    closeStrangers(): void {
      for (const { socket } of strangers()) socket.destroy()
    },
  }
}

/** Those of the address that has the most, so that a store at another one gets through its handshake in any flood. */
function crowd(connections: readonly Connection[]): readonly Connection[] {
  const byAddress = Map.groupBy(connections, ({ address }) => address)
  return [...byAddress.values()].toSorted((one, other) => other.length - one.length)[0] ?? []
}

function placeOf({ remoteAddress, remotePort }: Socket): string | undefined {
  return remoteAddress === undefined || remotePort === undefined
    ? undefined
    : `${remoteAddress} ${remotePort}`
}
