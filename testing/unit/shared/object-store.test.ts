// Answers that a real store cannot be asked for, from a small server, and what they become in our words.
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'chai'
import {
  FatalError,
  ObjectChangedError,
  ObjectGoneError,
  OutageError,
  StoreUnavailableError,
} from '../../../services/shared/errors.ts'
import { createObjectStore, type ObjectStore } from '../../../services/shared/object-store.ts'
import { rejection } from '../../support/rejection.ts'

const object = { bucket: 'uploads', key: 'a b+c/ä.txt' }
const xml = (code: string) => `<?xml version="1.0"?><Error><Code>${code}</Code></Error>`
const lastModified = 'Sat, 21 Nov 2026 04:00:00 GMT'

describe('createObjectStore', () => {
  let server: Server
  let store: ObjectStore
  const serve = async (answer: RequestListener) => {
    server = createServer(answer).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    store = createObjectStore({
      url: `http://127.0.0.1:${port}`,
      region: 'eu-west-1',
      user: 'user',
      password: 'password',
      caFile: '',
      timeoutMs: 100,
    })
  }
  const answering = (status: number, body = '', headers: Record<string, string> = {}) =>
    serve((_, response) => response.writeHead(status, headers).end(body))
  afterEach(async () => {
    store.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  for (const [status, body] of [
    [500, ''],
    [500, xml('InternalError')],
    [502, '<html>Bad Gateway</html>'],
    [503, ''],
    [503, xml('SlowDown')],
    [504, ''],
    [507, xml('XMinioStorageFull')],
    [429, ''],
  ] as const) {
    it(`takes ${status} with ${body === '' ? 'no body' : body.slice(-40)} for an outage`, async () => {
      await answering(status, body)

      expect(await rejection(store.open(object))).to.be.instanceOf(StoreUnavailableError)
      expect(await rejection(store.head(object))).to.be.instanceOf(StoreUnavailableError)
    })
  }

  it('takes silence for an outage', async () => {
    await serve(() => {})

    const error = await rejection(store.open(object))

    expect(error).to.be.instanceOf(StoreUnavailableError)
    expect(error.message).to.equal('the store was silent for 100 ms')
  })

  describe('where the store stops in the middle of a body', () => {
    const half = '<Tagging><TagSet><Tag><Key>a</Key>'
    const stopping = () =>
      serve((_, response) => {
        response.writeHead(200, {
          'last-modified': lastModified,
          'content-length': half.length * 2,
        })
        response.write(half)
      })

    it('breaks the download off', async () => {
      await stopping()
      const { body } = await store.open(object)

      const error = await rejection(buffer(body))

      expect(error.message).to.equal('Body Timeout Error')
    })

    it('takes it for an outage where it asks for tags', async () => {
      await stopping()

      expect(await rejection(store.tags(object))).to.be.instanceOf(StoreUnavailableError)
    })
  })

  it('waits for a reader that takes longer than the store may', async () => {
    const bytes = Buffer.alloc(1_000_000, 'a')
    await serve((_, response) => {
      response.writeHead(200, { 'last-modified': lastModified, 'content-length': bytes.length })
      response.end(bytes)
    })

    const { body } = await store.open(object)
    // Undici looks for what is late once a second.
    await pause(2500)

    expect((await buffer(body)).equals(bytes)).to.equal(true)
  })

  it('reads an object whose uploader gave it a header of a megabyte', async () => {
    await serve((_, response) => {
      const long = `attachment; filename="${'x'.repeat(1_000_000)}"`
      response.writeHead(200, {
        'last-modified': lastModified,
        'content-length': 5,
        'content-disposition': long,
      })
      response.end('hello')
    })

    const { body } = await store.open(object)

    expect((await buffer(body)).toString()).to.equal('hello')
  })

  it('has no connection left over after many answers of trouble', async () => {
    let open = 0
    let most = 0
    await answering(503, xml('SlowDown').padEnd(100_000))
    server.on('connection', (socket) => {
      most = Math.max(most, ++open)
      socket.on('close', () => open--)
    })

    for (let times = 0; times < 20; times++) await rejection(store.tags(object))

    expect(most).to.be.at.most(3)
  })

  for (const code of ['NoSuchKey', 'NoSuchVersion']) {
    it(`takes 404 ${code} for an object that is gone`, async () => {
      await answering(404, xml(code))

      expect(await rejection(store.open(object))).to.be.instanceOf(ObjectGoneError)
    })
  }

  it('takes the GET of a delete marker for an object that is gone', async () => {
    await answering(405, xml('MethodNotAllowed'), { 'x-amz-delete-marker': 'true' })

    expect(await rejection(store.open({ ...object, versionId: 'v' }))).to.be.instanceOf(
      ObjectGoneError,
    )
  })

  for (const [what, body] of [
    ['NoSuchBucket', xml('NoSuchBucket')],
    ['no body', ''],
    ['the page of a proxy', '<html>nothing here</html>'],
  ] as const) {
    it(`does not take a 404 with ${what} for an object that is gone`, async () => {
      await answering(404, body)

      expect(await rejection(store.open(object))).not.to.be.instanceOf(ObjectGoneError)
    })
  }

  it('takes the 404 of a HEAD, which never has a body, for an object that is gone', async () => {
    await answering(404)

    expect(await rejection(store.head(object))).to.be.instanceOf(ObjectGoneError)
  })

  it('asks for a version as signatures are computed', async () => {
    const asked: string[] = []
    await serve((request, response) => {
      asked.push(request.url ?? '')
      response.writeHead(404).end(xml('NoSuchVersion'))
    })

    await rejection(store.open({ ...object, versionId: "!'()*" }))
    await rejection(store.tags({ ...object, versionId: "!'()*" }))

    for (const url of asked) expect(url).to.match(/versionId=%21%27%28%29%2A$/)
    expect(asked).to.have.length(2)
  })

  it('asks for the etag it was told and says so when it is another', async () => {
    const asked: unknown[] = []
    await serve((request, response) => {
      asked.push(request.headers['if-match'])
      response.writeHead(412).end(xml('PreconditionFailed'))
    })

    expect(await rejection(store.open({ ...object, etag: 'e1' }))).to.be.instanceOf(
      ObjectChangedError,
    )
    expect(asked).to.deep.equal(['"e1"'])
  })

  it('fails the body of an answer that is cut off', async () => {
    await serve((_, response) => {
      response.writeHead(200, { 'content-length': '10', 'last-modified': lastModified })
      response.write('half', () => response.destroy())
    })

    const { body, size } = await store.open(object)

    expect(size).to.equal(10)
    expect(await rejection(body.toArray())).to.be.instanceOf(Error)
  })

  it('refuses an answer that does not say how long it is', async () => {
    await serve((_, response) => response.writeHead(200).end('x'))

    expect(await rejection(store.open(object))).to.be.instanceOf(OutageError)
  })

  it('reads the Content-Encoding, and leaves the bytes as they are', async () => {
    await answering(200, 'abc', {
      'content-length': '3',
      'last-modified': lastModified,
      'content-encoding': 'br',
    })

    const { contentEncoding, body } = await store.open(object)

    expect(contentEncoding).to.equal('br')
    expect((await buffer(body)).toString()).to.equal('abc')
  })

  it('reads size, etag, version, time and number of tags, of exactly the key', async () => {
    let path: string | undefined
    await serve((request, response) => {
      path = request.url
      response.writeHead(200, {
        'content-length': '3',
        'last-modified': lastModified,
        etag: '"e"',
        'x-amz-version-id': 'null',
        'x-amz-tagging-count': '2',
        date: 'Sat, 21 Nov 2026 04:00:07 GMT',
      })
      response.end('abc')
    })

    const { body, ...facts } = await store.open({ ...object, versionId: 'v/1' })

    body.resume()
    expect(path).to.equal('/uploads/a%20b%2Bc/%C3%A4.txt?versionId=v%2F1')
    expect(facts).to.deep.equal({
      size: 3,
      etag: 'e',
      versionId: undefined,
      contentEncoding: undefined,
      lastModified: new Date(lastModified),
      tagCount: 2,
      servedAt: new Date('2026-11-21T04:00:07Z'),
    })
  })

  it('says of a HEAD answered 412, which has no body, that other bytes are there', async () => {
    await serve((_, response) => response.writeHead(412).end())

    expect(await rejection(store.head({ ...object, etag: 'e' }))).to.be.instanceOf(
      ObjectChangedError,
    )
  })

  describe('of the version called null', () => {
    const nullVersion = { ...object, versionId: 'null' }
    let asked: string[]
    let headers: Record<string, string>
    /** Of the current version: what VersityGW names, and whether it knows the other one by its name. */
    const answerAs = (current: string | undefined, knownByName: boolean, afterPut = current) =>
      serve((request, response) => {
        const named = request.url?.includes('versionId=null') === true
        asked.push(`${request.method} ${named ? 'null' : 'current'}`)
        if (request.method === 'GET' || request.method === 'HEAD')
          Object.assign(headers, request.headers)
        if (named && !knownByName) {
          response.writeHead(404).end(request.method === 'HEAD' ? '' : xml('NoSuchVersion'))
          return
        }
        const version = request.method === 'PUT' ? undefined : current
        if (request.method === 'PUT') current = afterPut
        response.writeHead(200, {
          'content-length': '0',
          'last-modified': lastModified,
          ...(version === undefined || named ? {} : { 'x-amz-version-id': version }),
        })
        response.end()
      })
    beforeEach(() => {
      asked = []
      headers = {}
    })

    it('keeps that name although MinIO leaves it out of its answer, and guards it by its etag', async () => {
      await answerAs('newer', true)

      const facts = await store.head({ ...nullVersion, etag: 'e' })

      expect(facts.versionId).to.equal('null')
      expect(headers['if-match']).to.equal('"e"')
      expect(asked).to.deep.equal(['HEAD null'])
    })

    it('finds it as the current one where VersityGW does not know it by its name', async () => {
      await answerAs(undefined, false)

      await store.setTags(nullVersion, { a: '1' })

      expect(asked).to.deep.equal(['PUT null', 'HEAD current', 'PUT current', 'HEAD current'])
    })

    it('takes no newer version for it', async () => {
      await answerAs('newer', false)

      expect(await rejection(store.setTags(nullVersion, {}))).to.be.instanceOf(ObjectGoneError)
      expect(asked).to.deep.equal(['PUT null', 'HEAD current'])
    })

    it('says when a newer version came in the moment in which it was tagged', async () => {
      await answerAs(undefined, false, 'newer')

      expect(await rejection(store.setTags(nullVersion, {}))).to.be.instanceOf(ObjectChangedError)
    })
  })

  it('keeps tags of digits as they are', async () => {
    await answering(
      200,
      '<Tagging><TagSet><Tag><Key>007</Key><Value>1e3</Value></Tag></TagSet></Tagging>',
    )

    expect(await store.tags(object)).to.deep.equal({ '007': '1e3' })
  })

  for (const code of [
    'InvalidAccessKeyId',
    'SignatureDoesNotMatch',
    'AccessDenied',
    'NoSuchBucket',
  ]) {
    it(`says at start what to do about ${code}, without the password`, async () => {
      await answering(code === 'NoSuchBucket' ? 404 : 403, xml(code))

      const error = await rejection(store.ping('uploads'))

      expect(error).to.be.instanceOf(FatalError)
      expect(error.message).to.match(new RegExp(`reach the bucket "uploads": ${code}$`))
      expect((error as FatalError).hint)
        .to.include('init object-store')
        .and.not.include('password"')
    })
  }

  for (const [minutes, word] of [
    [-20, 'is 20 min ahead of'],
    [20, 'is 20 min behind'],
  ] as const)
    it(`says that the clock ${word} the store's`, async () => {
      const date = new Date(Date.now() + minutes * 60_000).toUTCString()
      await answering(403, xml('RequestTimeTooSkewed'), { date })

      const error = await rejection(store.ping('uploads'))

      expect(error).to.be.instanceOf(FatalError)
      expect((error as FatalError).hint).to.equal(
        `the clock of this machine ${word} the store's: set both by NTP`,
      )
    })
})
