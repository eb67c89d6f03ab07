// An engine that takes 50 ms for a scan and no CPU: what is left is the pipeline. It speaks as much of clamd's protocol as a worker
// uses, and knows EICAR, for the canary. A process of its own, started with the path of its socket.
import { createServer, type Socket } from 'node:net'
import { eicar } from '../../services/shared/test-signatures.ts'

export const sleepMs = 50

function serve(socket: Socket): void {
  let bytes = Buffer.alloc(0)
  let stream: Buffer[] | undefined
  let serial = 0
  socket.on('error', () => socket.destroy())
  const commands: Record<string, () => void> = {
    IDSESSION: () => {},
    END: () => socket.end(),
    PING: () => socket.write(`${++serial}: PONG\0`),
    VERSION: () => socket.write(`${++serial}: ClamAV 1.4.6/1/Sat Jan  3 00:00:00 2026\0`),
    INSTREAM: () => (stream = []),
  }
  /** Takes one command or frame off the front; false when it is not all there. */
  const step = (): boolean => {
    if (stream === undefined) {
      const end = bytes.indexOf(0)
      if (end < 0) return false
      const word = bytes.subarray(1, end).toString('latin1')
      bytes = bytes.subarray(end + 1)
      commands[word]?.()
      return true
    }
    if (bytes.length < 4) return false
    const length = bytes.readUInt32BE(0)
    if (bytes.length < 4 + length) return false
    if (length > 0) stream.push(bytes.subarray(4, 4 + length))
    else {
      const id = ++serial
      const found = Buffer.concat(stream).includes(eicar())
      stream = undefined
      const answer = `${id}: stream: ${found ? 'Eicar-Test-Signature FOUND' : 'OK'}\0`
      setTimeout(() => socket.write(answer), sleepMs)
    }
    bytes = bytes.subarray(4 + length)
    return true
  }
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk])
    while (step());
  })
}

const path = process.argv[2]
if (path !== undefined) createServer({ allowHalfOpen: false }, serve).listen(path)
