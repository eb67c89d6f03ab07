// Notices when the object store is restarted or cannot be reached: holds a connection on which nothing is said, and looks what a new
// one meets when it is closed. Measured: a killed process closes it within 30 ms, and a new one is then refused (VersityGW) or
// reset (MinIO, whose dying listener still takes one). MinIO also closes a silent connection after 30 s, VersityGW never did
// (100 s): then a new one is taken and stays, which is no loss. Bare TCP does: no handshake is needed to be told of an end, and
// neither store logs a word about it.
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A connection that ends sooner was never wanted. */
const settledMs = 1000
const connectTimeoutMs = 5000
/** Short, lest a store that comes and goes again is taken for one that came. */
const pauseMs = 250

/** Runs until the signal. `onLost` hears that the store went away, and again while it stays away. */
export async function watchStore(
  url: string,
  onLost: (reason: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const { hostname, port, protocol } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port)
  let hasReset = false
  let isClosedEarly = false
  while (!signal.aborted) {
    const begun = performance.now()
    const { connected, reset, why } = await oneConnection(host, number, signal)
    if (signal.aborted) return
    const isSettled = performance.now() - begun >= settledMs
    if (connected && (isSettled || !reset)) {
      hasReset = false
      // A server was there and closed it: the next connection tells why. One that closes all of them is asked less often.
      const again = !isSettled && isClosedEarly
      isClosedEarly = !isSettled
      if (!again) continue
    } else {
      // Refused says that there is none at this moment; a reset may be the way of something in between.
      if (!connected || !hasReset) onLost(`the object store went away (${why})`)
      hasReset = connected
    }
    await sleep(pauseMs, undefined, { signal }).catch(() => {})
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
