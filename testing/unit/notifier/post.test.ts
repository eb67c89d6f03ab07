import { expect } from 'chai'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { createPoster, parseRetryAfter, type Poster } from '../../../services/notifier/post.ts'
import { errorCode } from '../../../services/shared/errors.ts'
import { eventually } from '../../support/eventually.ts'
import { rejection } from '../../support/rejection.ts'
import { testCertificate } from '../../support/test-certificate.ts'
import {
  answers,
  secretOf,
  startWebhookReceiver,
  type WebhookReceiver,
} from '../../support/webhook-receiver.ts'

const hour = 3_600_000

describe('parseRetryAfter', () => {
  const now = Date.parse('2026-11-21T10:00:00Z')
  for (const [header, expected] of [
    ['0', 0],
    ['120', 120_000],
    [' 7 ', 7000],
    ['43200', 12 * hour],
    ['43201', 12 * hour],
    ['99999999999999999999', 12 * hour],
    ['Sat, 21 Nov 2026 10:01:30 GMT', 90_000],
    ['Sat, 21 Nov 2026 09:00:00 GMT', 0],
    ['Sat, 21 Nov 2037 10:00:00 GMT', 12 * hour],
    ['Saturday, 21-Nov-26 10:00:05 GMT', 5000],
    [['3', '9'], 3000],
    ['-5', undefined],
    ['1.5', undefined],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ] as const) {
    it(`reads ${JSON.stringify(header)} as ${expected} ms`, () => {
      expect(parseRetryAfter(header as string | string[] | undefined, now)).to.equal(expected)
    })
  }
})

describe('createPoster', () => {
  const { signal } = new AbortController()
  let receiver: WebhookReceiver
  let poster: Poster | undefined

  const open = (url = receiver.url(), timeoutMs = 5000) =>
    (poster = createPoster(url, { timeoutMs, connections: 2, ca: undefined }))
  const post = (to: Poster) => to.post(Buffer.from('{}'), {}, signal)

  beforeEach(async () => {
    receiver = await startWebhookReceiver({ secrets: [secretOf(1)] })
  })
  afterEach(async () => {
    await poster?.close()
    await receiver.close()
  })

  it('sends the body as JSON with the given headers', async () => {
    await open().post(Buffer.from('{"a":1}'), { 'webhook-id': 'x' }, signal)

    const [request] = receiver.requests
    expect(request?.raw.toString()).to.equal('{"a":1}')
    expect(request?.headers).to.include({
      'content-type': 'application/json',
      'webhook-id': 'x',
      'user-agent': 'bucket-av-scanner',
      'content-length': '7',
    })
  })

  it('follows no redirect', async () => {
    const elsewhere = await startWebhookReceiver({ secrets: [secretOf(1)] })
    receiver.always(answers.status(307, { location: elsewhere.url() }))

    const answer = await post(open())

    expect(answer.status).to.equal(307)
    expect(elsewhere.requests).to.deep.equal([])
    await elsewhere.close()
  })

  it('waits for an answer that is late but in time', async () => {
    receiver.always(answers.late(204, 100))

    expect((await post(open())).status).to.equal(204)
  })

  for (const [title, answer] of [
    ['is never answered', answers.never],
    ['is answered one header line at a time', answers.drippingHeaders],
  ] as const) {
    it(`gives up at the deadline when a request ${title}`, async () => {
      receiver.always(answer)

      expect((await rejection(post(open(receiver.url(), 150)))).name).to.equal('TimeoutError')
    })
  }

  it('counts as answered when the headers came and the body never ends', async () => {
    receiver.always(answers.drippingBody(200))

    expect((await post(open())).status).to.equal(200)
  })

  it('reads only a little of an endless answer and drops the connection', async () => {
    receiver.always(answers.endlessBody(200))

    expect((await post(open())).status).to.equal(200)

    // What the kernel's buffers take is not up to us; reading on would make it grow without end.
    await eventually(() => receiver.closedBytes > 0)
    expect(receiver.closedBytes).to.be.lessThan(16 * 1024 * 1024)
  })

  it('says what happened when the connection is reset', async () => {
    receiver.always(answers.reset)

    expect(errorCode(await rejection(post(open())))).to.match(/ECONNRESET|UND_ERR_SOCKET/)
  })

  it('refuses an answer that is no HTTP', async () => {
    receiver.always(answers.notHttp)

    expect((await rejection(post(open()))).name).to.equal('HTTPParserError')
  })

  it('turns credentials in the url into a header and keeps url secrets out of what is logged', async () => {
    const url = `http://me:p%40ss%3A@127.0.0.1:${receiver.port}/path-token?key=query-token#x`

    await post(open(url))

    expect(poster?.host).to.equal(`127.0.0.1:${receiver.port}`)
    expect(receiver.requests[0]?.path).to.equal('/path-token?key=query-token')
    expect(receiver.requests[0]?.headers['authorization']).to.equal(
      `Basic ${Buffer.from('me:p@ss:').toString('base64')}`,
    )
  })

  it('stops when it is told to', async () => {
    receiver.always(answers.never)
    const stop = new AbortController()
    const pending = rejection(open().post(Buffer.from('{}'), {}, stop.signal))
    await eventually(() => receiver.requests.length === 1)

    stop.abort(new Error('shutdown'))

    expect((await pending).message).to.equal('shutdown')
  })

  describe('over TLS', () => {
    let folder: string
    let secure: WebhookReceiver
    let ca: string
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'test-post-'))
      const { cert, key } = await testCertificate(folder)
      ca = cert
      secure = await startWebhookReceiver({ secrets: [secretOf(1)], tls: { cert, key } })
    })
    after(async () => {
      await secure.close()
      await rm(folder, { recursive: true, force: true })
    })
    const trusting = (cas: string[] | undefined) =>
      (poster = createPoster(secure.url(), { timeoutMs: 5000, connections: 1, ca: cas }))

    it('accepts a certificate of a CA that it was given', async () => {
      expect((await post(trusting([...rootCertificates, ca]))).status).to.equal(204)
    })

    it('refuses a certificate of an unknown CA', async () => {
      const before = secure.requests.length

      expect(errorCode(await rejection(post(trusting(undefined))))).to.match(
        /SELF_SIGNED|UNABLE_TO/,
      )
      expect(secure.requests.length).to.equal(before)
    })
  })
})
