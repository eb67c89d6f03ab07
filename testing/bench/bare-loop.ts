// The yardstick: event → GET → INSTREAM → tag → ack in the fewest lines, over the same TLS and with keep-alive, but without temporary
// file, proof, retries, verdicts, metrics and logs. Started by the bench with BARE (JSON) in its environment; not shipped.
// Prints seconds and its own CPU from the first tenth of the objects to the last.
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { connect as connectSocket, type Socket } from 'node:net'
import { createSecureContext } from 'node:tls'
import { connect } from 'amqplib'
import { Client } from 'minio'

export interface BareOptions {
  count: number
  amqp: object
  ca: string
  store: { port: number; region: string; user: string; password: string }
  queue: string
  socket: string
  sessions: number
}

class Session {
  readonly #socket: Socket
  readonly #waiting: ((answer: string) => void)[] = []
  #text = ''

  constructor(path: string) {
    this.#socket = connectSocket(path)
    this.#socket.write('zIDSESSION\0')
    this.#socket.setEncoding('latin1').on('data', (text: string) => {
      const lines = (this.#text + text).split('\0')
      this.#text = lines.pop() ?? ''
      for (const line of lines) this.#waiting.shift()?.(line)
    })
  }

  scan(body: AsyncIterable<Buffer>): Promise<string> {
    return new Promise((resolve, reject) => {
      const send = async () => {
        this.#waiting.push(resolve)
        this.#socket.write('zINSTREAM\0')
        for await (const chunk of body) {
          const length = Buffer.alloc(4)
          length.writeUInt32BE(chunk.length)
          this.#socket.cork()
          this.#socket.write(length)
          const more = this.#socket.write(chunk)
          this.#socket.uncork()
          if (!more) await new Promise((go) => this.#socket.once('drain', go))
        }
        this.#socket.write(Buffer.alloc(4))
      }
      send().catch(reject)
    })
  }
}

const { count, amqp, ca, store, queue, socket, sessions } = JSON.parse(
  process.env['BARE'] ?? '',
) as BareOptions
const pem = readFileSync(ca, 'utf8')
const agent = new Agent({ keepAlive: true, secureContext: createSecureContext({ ca: pem }) })
const client = new Client({
  endPoint: '127.0.0.1',
  port: store.port,
  useSSL: true,
  region: store.region,
  accessKey: store.user,
  secretKey: store.password,
  pathStyle: true,
  transportAgent: agent,
})
const free = Array.from({ length: sessions }, () => new Session(socket))
const broker = await connect(amqp, { ca: pem, servername: '' })
const channel = await broker.createChannel()
await channel.prefetch(sessions)
const firstTenth = Math.floor(count / 10)
let done = 0
let [begun, cpu] = [performance.now(), process.cpuUsage()]
await channel.consume(queue, (message) => {
  if (message === null) return
  const work = async () => {
    const { Records: records } = JSON.parse(message.content.toString()) as {
      Records: { s3: { bucket: { name: string }; object: { key: string; versionId: string } } }[]
    }
    const { bucket, object } = (records[0] as (typeof records)[number]).s3
    const key = decodeURIComponent(object.key)
    const { versionId } = object
    const session = free.pop() as Session
    const answer = await session.scan(await client.getObject(bucket.name, key, { versionId }))
    free.push(session)
    const scanned = answer.endsWith(' OK') ? 'clean' : 'infected'
    await client.setObjectTagging(bucket.name, key, { scanned }, { versionId })
    channel.ack(message)
    done++
    if (done === firstTenth) [begun, cpu] = [performance.now(), process.cpuUsage()]
    if (done < count) return
    const { user, system } = process.cpuUsage(cpu)
    const seconds = (performance.now() - begun) / 1000
    process.stdout.write(
      `${JSON.stringify({ objects: done - firstTenth, seconds, cpuMs: (user + system) / 1000 })}\n`,
    )
    await channel.close()
    await broker.close()
    process.exit(0)
  }
  work().catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
})
