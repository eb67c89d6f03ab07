// Is it up? One look at a child's port, socket or /readyz; never throws.
import { readFileSync } from 'node:fs'
import { get as httpGet, type IncomingMessage } from 'node:http'
import { get as httpsGet } from 'node:https'
import { connect } from 'node:net'
import type { Readiness } from './spec.ts'

export async function isReady(readiness: Readiness): Promise<boolean> {
  if (readiness.kind === 'tcp') return accepts({ port: readiness.port, host: '127.0.0.1' })
  if (readiness.kind === 'socket') return accepts({ path: readiness.path })
  if (readiness.kind === 'http')
    return (await fetchText(readiness.url, readiness.caFile))?.ok === true
  return true
}

function accepts(target: { port: number; host: string } | { path: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(target)
    const end = (result: boolean) => {
      socket.destroy()
      resolve(result)
    }
    socket.setTimeout(2000, () => end(false))
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })
}

/** Status and text of a GET within three seconds; undefined when nobody answers. */
export function fetchText(
  url: string,
  caFile?: string,
  auth?: string,
): Promise<{ ok: boolean; status: number; text: string } | undefined> {
  return new Promise((resolve) => {
    const options = {
      timeout: 3000,
      agent: false as const,
      ...(auth === undefined ? {} : { auth }),
    }
    const answered = (response: IncomingMessage) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', () => resolve(undefined))
      response.on('end', () => {
        const status = response.statusCode ?? 0
        resolve({
          ok: status >= 200 && status < 300,
          status,
          text: Buffer.concat(chunks).toString(),
        })
      })
    }
    try {
      const request = url.startsWith('https:')
        ? httpsGet(
            url,
            { ...options, ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }) },
            answered,
          )
        : httpGet(url, options, answered)
      request.on('timeout', () => request.destroy(new Error('timeout')))
      request.on('error', () => resolve(undefined))
    } catch {
      resolve(undefined)
    }
  })
}
