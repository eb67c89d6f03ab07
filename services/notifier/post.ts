// One POST to one receiver: a connection pool of its own, a deadline over everything, no redirects, a bounded look at the answer.
import { Agent, request } from 'undici'
import { basicCredentials } from '../shared/config-schema.ts'

export interface Answer {
  status: number
  /** What the receiver asked for by Retry-After, at most 12 hours. */
  retryAfterMs: number | undefined
}

export interface PosterOptions {
  timeoutMs: number
  connections: number
  /** Trusted CAs in PEM; undefined: Node's own list. */
  ca: string[] | undefined
}

export interface Poster {
  /** The receiver as it may be logged: no path, query or credentials, for any of them may be a secret. */
  readonly host: string
  /** @throws whatever kept an answer from coming within `timeoutMs`; the body of the answer is not waited for. */
  post(body: Buffer, headers: Record<string, string>, signal: AbortSignal): Promise<Answer>
  close(): Promise<void>
}

const maxAnswerBytes = 4096
const maxAnswerMs = 1000
const maxRetryAfterMs = 12 * 60 * 60 * 1000

/** `url` may carry user and password: they become an Authorization header. */
export function createPoster(url: string, options: PosterOptions): Poster {
  const target = new URL(url)
  const authorization = basicAuthorization(target)
  target.username = ''
  target.password = ''
  target.hash = ''
  const agent = new Agent({
    connections: options.connections,
    pipelining: 1,
    // The one deadline below covers them all.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: {
      timeout: options.timeoutMs,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    },
  })
  return {
    host: target.host,
    async post(body, headers, signal) {
      const deadline = AbortSignal.timeout(options.timeoutMs)
      const response = await request(target, {
        dispatcher: agent,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'bucket-av-scanner',
          ...authorization,
          ...headers,
        },
        body,
        signal: AbortSignal.any([signal, deadline]),
      })
      // Read a little, so that the connection can be used again; a long or slow body is cut off with its connection.
      response.body
        .dump({ limit: maxAnswerBytes, signal: AbortSignal.timeout(maxAnswerMs) })
        .catch(() => {})
      return {
        status: response.statusCode,
        retryAfterMs: parseRetryAfter(response.headers['retry-after']),
      }
    },
    close: () => agent.destroy(),
  }
}

/** Retry-After in seconds or as an HTTP date, as milliseconds from `now`, 0 to 12 hours; undefined when it is neither. */
export function parseRetryAfter(
  header: string | string[] | undefined,
  now = Date.now(),
): number | undefined {
  const value = (Array.isArray(header) ? header[0] : header)?.trim() ?? ''
  const delayMs = /^\d+$/.test(value)
    ? Number(value) * 1000
    : /^[A-Za-z]{3,9},? /.test(value)
      ? Date.parse(value) - now
      : Number.NaN
  return Number.isNaN(delayMs) ? undefined : Math.min(Math.max(delayMs, 0), maxRetryAfterMs)
}

function basicAuthorization(target: URL): Record<string, string> {
  const pair = basicCredentials(target)
  if (pair === undefined || pair === null) return {}
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` }
}
