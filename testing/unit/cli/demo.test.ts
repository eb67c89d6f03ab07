import { expect } from 'chai'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cellsOf, demoObjects, takeMessage, type DemoRow } from '../../../services/cli/demo.ts'
import { liveTable, renderTable } from '../../../services/cli/table.ts'
import { startReceiver, type Received } from '../../../services/cli/webhook-receiver.ts'
import { zipOf } from '../../../services/cli/zip.ts'
import type { OutMessage } from '../../../services/shared/messages.ts'
import { Webhook } from 'standardwebhooks'

const row = (key: string): DemoRow => ({
  key,
  expected: 'INFECTED',
  uploadedAt: 1000,
  complete: false,
})
const verdict = (key: string, status: string, action: string, threats: string[] = []) =>
  ({
    type: `object.scan.${status.toLowerCase()}`,
    timestamp: '',
    data: {
      s3ObjectDetails: { bucketName: 'b', objectKey: key },
      scanResultDetails: {
        scanResultStatus: status,
        threats: threats.map((name) => ({ name })),
        statusReasons: status === 'UNSCANNABLE' ? [107] : [],
      },
      action: { type: action },
    },
  }) as unknown as OutMessage
const deleted = (key: string) =>
  ({
    type: 'object.deleted',
    timestamp: '',
    data: {
      s3ObjectDetails: { bucketName: 'b', objectKey: key },
      action: { type: 'delete', verdictId: '1' },
    },
  }) as unknown as OutMessage

describe('takeMessage', () => {
  it('fills in verdict, signature and time, and waits for the announced delete', () => {
    const rows = [row('k')]

    takeMessage(rows, verdict('k', 'INFECTED', 'delete', ['Eicar']), 1250)

    expect(cellsOf(rows[0] as DemoRow)).to.deep.equal(['k', 'INFECTED', 'Eicar', 'delete', '250'])
    expect(rows[0]?.complete).to.equal(false)
    takeMessage(rows, deleted('k'), 1300)
    expect(rows[0]).to.include({ action: 'deleted', complete: true, ms: 250 })
  })

  it('understands a delete that is told before its verdict', () => {
    const rows = [row('k')]

    takeMessage(rows, deleted('k'), 1200)
    expect(rows[0]?.complete).to.equal(false)
    takeMessage(rows, verdict('k', 'INFECTED', 'delete', ['Eicar']), 1250)

    expect(rows[0]).to.include({ action: 'deleted', verdict: 'INFECTED', complete: true })
  })

  it('shows the reason of what cannot be scanned', () => {
    const rows = [row('k')]

    takeMessage(rows, verdict('k', 'UNSCANNABLE', 'tag'), 1100)

    expect(rows[0]).to.include({ why: '107', action: 'tag', complete: true })
  })

  it('ignores repeated webhooks and objects of other runs', () => {
    const rows = [row('k')]
    takeMessage(rows, verdict('k', 'CLEAN', 'tag'), 1100)

    expect(takeMessage(rows, verdict('k', 'INFECTED', 'tag'), 1200)).to.equal(false)
    expect(takeMessage(rows, verdict('other', 'CLEAN', 'tag'), 1200)).to.equal(false)
    expect(rows[0]).to.include({ verdict: 'CLEAN', ms: 100 })
  })
})

describe('the tables', () => {
  it('aligns columns and cuts what is too long in the middle', () => {
    expect(renderTable(['a', 'bb'], [['1', 'x'.repeat(10) + 'end']], 9)).to.deep.equal([
      'a  bb',
      '1  xxxx…xend',
    ])
  })

  it('prints a row once, when it is done, where there is no terminal', () => {
    const written: string[] = []
    const table = liveTable(
      ['k', 'v'],
      { write: (text) => written.push(text) },
      ([, v]) => v !== '',
    )

    table.draw([
      ['a', ''],
      ['b', '1'],
    ])
    table.draw([
      ['a', '2'],
      ['b', '1'],
    ])

    expect(written.map((line) => line.trim().split(/\s+/).join(' '))).to.deep.equal([
      'k v',
      'b 1',
      'a 2',
    ])
  })

  it('draws over itself on a terminal', () => {
    const written: string[] = []
    const table = liveTable(['k'], { isTTY: true, write: (text) => written.push(text) }, () => true)

    table.draw([['a']])
    table.draw([['b']])

    expect(written[1]?.startsWith('\u001b[2A')).to.equal(true)
  })
})

describe('demoObjects', () => {
  it('expects the five verdicts', () => {
    expect(demoObjects('r').map(({ expected }) => expected)).to.deep.equal([
      'CLEAN',
      'INFECTED',
      'INFECTED',
      'UNSCANNABLE',
      'CLEAN',
    ])
  })
})

describe('zipOf', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'zip-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  const unzip = (bytes: Buffer, password: string) => {
    writeFileSync(join(folder, 'a.zip'), bytes)
    const script =
      'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read("m.txt", sys.argv[2].encode()))'
    return execFileSync('python3', ['-c', script, join(folder, 'a.zip'), password], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  }

  it('makes archives that other programs read', () => {
    const content = randomBytes(1000)

    expect(unzip(zipOf('m.txt', content), '').equals(content)).to.equal(true)
  })

  it('encrypts so that only the password opens it', () => {
    const content = randomBytes(1000)
    const bytes = zipOf('m.txt', content, 'secret')

    expect(unzip(bytes, 'secret').equals(content)).to.equal(true)
    expect(() => unzip(bytes, 'wrong')).to.throw()
  })
})

describe('startReceiver', () => {
  const secret = `whsec_${Buffer.alloc(32, 1).toString('base64')}`
  const send = async (signWith: string) => {
    const received: Received[] = []
    const receiver = await startReceiver({
      host: '127.0.0.1',
      port: 0,
      secret,
      onMessage: (one) => received.push(one),
    })
    const body = JSON.stringify(deleted('k'))
    const now = new Date()
    const response = await fetch(`http://127.0.0.1:${receiver.port}/`, {
      method: 'POST',
      body,
      headers: {
        'webhook-id': 'id-1',
        'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
        'webhook-signature': new Webhook(signWith).sign('id-1', now, body),
      },
    })
    await receiver.close()
    return { status: response.status, received, refused: receiver.refused }
  }

  it('takes a webhook with a good signature', async () => {
    const { status, received, refused } = await send(secret)

    expect(status).to.equal(204)
    expect(received.map(({ id, message }) => [id, message.type])).to.deep.equal([
      ['id-1', 'object.deleted'],
    ])
    expect(refused).to.deep.equal([])
  })

  it('refuses one with another signature and remembers it', async () => {
    const { status, received, refused } = await send(
      `whsec_${Buffer.alloc(32, 2).toString('base64')}`,
    )

    expect(status).to.equal(401)
    expect(received).to.deep.equal([])
    expect(refused).to.have.length(1)
  })
})
