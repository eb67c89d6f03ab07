// The demo's webhook receiver. It verifies signatures with the public standardwebhooks package, not with our own code.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { describeError, errorCode, FatalError } from '../shared/errors.ts'
import type { OutMessage } from '../shared/messages.ts'

export interface Received {
  id: string
  at: number
  message: OutMessage
}

export interface Receiver {
  port: number
  /** Requests that were refused, and why. */
  refused: string[]
  close(): Promise<void>
}

export interface ReceiverOptions {
  host: string
  port: number
  secret: string
  onMessage(received: Received): void
}

/** @throws FatalError when the port is taken. */
export async function startReceiver(options: ReceiverOptions): Promise<Receiver> {
  const webhook = new Webhook(options.secret)
  const refused: string[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const at = Date.now()
      const body = Buffer.concat(chunks).toString('utf8')
      try {
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion
        const message = webhook.verify(
          body,
          request.headers as Record<string, string>,
        ) as OutMessage
        response.writeHead(204).end()
        options.onMessage({ id: String(request.headers['webhook-id']), at, message })
      } catch (error) {
        refused.push(describeError(error))
        response.writeHead(401).end()
      }
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        errorCode(error) === 'EADDRINUSE'
          ? new FatalError(
              `port ${options.port}, where the demo receives its webhooks, is taken`,
              'does another demo run? wait for it, or stop what listens there',
            )
          : error,
      ),
    )
    server.listen(options.port, options.host, resolve)
  })
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const { port } = server.address() as AddressInfo
  return {
    port,
    refused,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
