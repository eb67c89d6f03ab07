// Notices when the object store is restarted or cannot be reached: holds a connection on which nothing is said, and looks what a new
// one meets when it is closed. Measured: a killed process closes it within 30 ms, and a new one is then refused (VersityGW) or
// reset (MinIO, whose dying listener still takes one). MinIO also closes a silent connection after 30 s, VersityGW never did
// (100 s): then a new one is taken and stays, which is no loss. Bare TCP does: no handshake is needed to be told of an end, and
// neither store logs a word about it.
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { backoffMs } from '../shared/retry.ts'

/** A connection that ends sooner was never wanted. */
const settledMs = 1000
const connectTimeoutMs = 5000

/** Runs until the signal. `onLost` hears of each time that the store went away. */
export async function watchStore(
  url: string,
  onLost: (reason: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const { hostname, port, protocol } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port)
  let isLost = false
  for (let failures = 0; !signal.aborted;) {
    const begun = performance.now()
    const end = await oneConnection(host, number, signal)
    if (signal.aborted) return
    const heldMs = performance.now() - begun
    const isSettled = heldMs >= settledMs
    if (end.connected && (isSettled || !end.reset)) {
      // A server was there and closed it: the next connection tells why.
      isLost = false
      if (isSettled) failures = 0
      if (failures++ === 0) continue
    } else {
      if (!isLost) onLost(`the object store went away (${end.why})`)
      isLost = true
      failures++
    }
    await sleep(backoffMs(failures), undefined, { signal }).catch(() => {})
  }
}

interface End {
  connected: boolean
  /** It ended with an error and not by being closed. */
  reset: boolean
  why: string
}

function oneConnection(host: string, port: number, signal: AbortSignal): Promise<End> {
  return new Promise((resolve) => {
    let connected = false
    let why = 'closed'
    let reset = false
    const socket: Socket = connect({ host, port, signal, keepAlive: true })
    socket.setTimeout(connectTimeoutMs, () => {
      if (!connected) socket.destroy(new Error('no answer'))
    })
    socket.on('connect', () => {
      connected = true
      socket.setTimeout(0)
    })
    socket.on('error', (error: Error & { code?: string }) => {
      reset = true
      why = error.code ?? error.message
    })
    socket.on('close', () => resolve({ connected, reset, why }))
    // Without a reader the end is not seen.
    socket.resume()
  })
}
