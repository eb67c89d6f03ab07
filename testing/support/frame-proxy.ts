// A proxy between an AMQP client and its broker that sees whole frames, for what no broker does when asked.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface AmqpFrame {
  type: number
  channel: number
  /** Of a method frame: `class.method`, as `60.21` is basic.consume-ok. */
  method: string | undefined
  bytes: Buffer
}

export interface FrameProxy {
  port: number
  /** How many connections there have been. */
  readonly connections: number
  close(): void
}

/**
 * @param answer what the client of connection number `n` (from 1) gets instead of a frame of the broker
 * @param ask called with each frame of the client before the broker gets it; false cuts the connection instead
 */
export async function startFrameProxy(
  brokerPort: number,
  answer: (frame: AmqpFrame, n: number) => Buffer[],
  ask: (frame: AmqpFrame, n: number) => boolean = () => true,
): Promise<FrameProxy> {
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((client) => {
    const n = ++connections
    const broker = connect(brokerPort, '127.0.0.1')
    const cut = () => {
      client.destroy()
      broker.destroy()
    }
    for (const socket of [client, broker]) {
      sockets.add(socket)
      socket.on('error', cut)
      socket.on('close', cut)
    }
    const up = splitFrames('AMQP\0\0\u0009\u0001'.length)
    client.on('data', (chunk: Buffer) => {
      for (const frame of up(chunk))
        if (ask(frame, n)) broker.write(frame.bytes)
        else cut()
    })
    const down = splitFrames(0)
    broker.on('data', (chunk: Buffer) => {
      const frames = down(chunk).flatMap((frame) => answer(frame, n))
      // In one write: the client handles them in one turn.
      if (frames.length > 0) client.write(Buffer.concat(frames))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** connection.close with the reply that RabbitMQ gives for a fault of its own. */
export function connectionClose(): Buffer {
  const text = 'INTERNAL_ERROR'
  const payload = Buffer.concat([
    Buffer.from([0, 10, 0, 50, 541 >> 8, 541 & 255, text.length]),
    Buffer.from(text),
    Buffer.from([0, 0, 0, 0]),
  ])
  const head = Buffer.from([1, 0, 0, 0, 0, 0, payload.length])
  return Buffer.concat([head, payload, Buffer.from([0xce])])
}

/** @param headerBytes what comes before the first frame: the client's protocol header */
function splitFrames(headerBytes: number): (chunk: Buffer) => AmqpFrame[] {
  let rest: Buffer = Buffer.alloc(0)
  let header = headerBytes
  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    const frames: AmqpFrame[] = []
    if (rest.length < header) return frames
    if (header > 0) {
      frames.push({ type: 0, channel: 0, method: undefined, bytes: rest.subarray(0, header) })
      rest = rest.subarray(header)
      header = 0
    }
    while (rest.length >= 8 && rest.length >= rest.readUInt32BE(3) + 8) {
      const length = rest.readUInt32BE(3) + 8
      const bytes = rest.subarray(0, length)
      const type = bytes[0] ?? 0
      frames.push({
        type,
        channel: bytes.readUInt16BE(1),
        method: type === 1 ? `${bytes.readUInt16BE(7)}.${bytes.readUInt16BE(9)}` : undefined,
        bytes,
      })
      rest = rest.subarray(length)
    }
    return frames
  }
}
