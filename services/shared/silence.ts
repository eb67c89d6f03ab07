// The clock of a body that is being received: a peer that stops in the middle, connection open, would keep its reader for ever.
import type { IncomingMessage } from 'node:http'

/**
 * Destroys `body` with `reason()` when its sender has sent nothing for between `timeoutMs` and twice as long. A reader that
 * takes its time does not count: while bytes wait for it the sender is held back by us.
 */
export function endWhenSilent(body: IncomingMessage, timeoutMs: number, reason: () => Error): void {
  const { socket } = body
  let before = -1
  const clock = setInterval(() => {
    if (body.complete || body.destroyed) return clearInterval(clock)
    if (body.readableLength > 0) before = -1
    else if (socket.bytesRead === before) body.destroy(reason())
    else before = socket.bytesRead
  }, timeoutMs).unref()
  body.once('close', () => clearInterval(clock))
}
