import { createHash, randomUUID } from 'node:crypto'
import { expect } from 'chai'
import { canaryContent, smokeCanary } from '../../../services/shared/canary-objects.ts'
import { webhookBody } from '../../../services/notifier/webhook-body.ts'
import {
  allEndpoints,
  configSchema,
  type EndpointConfig,
} from '../../../services/shared/config-schema.ts'
import { decodeJobs, type Outcome } from '../../../services/shared/messages.ts'
import { wants } from '../../../services/shared/wants.ts'
import { objectMessage, verdictMessage } from '../../support/verdict-message.ts'
import { secretOf } from '../../support/webhook-receiver.ts'

const endpoint: EndpointConfig = {
  name: 'all',
  url: 'http://127.0.0.1:1/',
  secret: secretOf(1),
  format: 'standard',
  verdicts: ['clean', 'infected', 'suspicious', 'unscannable', 'skipped', 'failed'],
  objectEvents: true,
  prefix: '',
}

function publishEndpoint(reportClean: boolean): EndpointConfig {
  const url = 'http://127.0.0.1:1/'
  const config = configSchema.parse({ publish: { url, secret: secretOf(1), reportClean } })
  return allEndpoints(config)[0] as EndpointConfig
}

const outcomes: Outcome[] = ['CLEAN', 'INFECTED', 'SUSPICIOUS', 'UNSCANNABLE', 'SKIPPED', 'FAILED']

const told = (one: EndpointConfig) =>
  outcomes.filter((outcome) => wants(one, verdictMessage(outcome)))

describe('wants', () => {
  it('REPORT_CLEAN=false: everything but clean and skipped', () => {
    expect(told(publishEndpoint(false))).to.deep.equal([
      'INFECTED',
      'SUSPICIOUS',
      'UNSCANNABLE',
      'FAILED',
    ])
  })

  it('REPORT_CLEAN=true: every verdict', () => {
    expect(told(publishEndpoint(true))).to.deep.equal(outcomes)
  })

  it('an endpoint gets the verdicts in its list and no others', () => {
    expect(told({ ...endpoint, verdicts: ['clean'] })).to.deep.equal(['CLEAN'])
    expect(told({ ...endpoint, verdicts: [] })).to.deep.equal([])
  })

  it('nothing goes to an endpoint without a url', () => {
    expect(told({ ...endpoint, url: '' })).to.deep.equal([])
    expect(wants({ ...endpoint, url: '' }, objectMessage())).to.equal(false)
  })

  it('an endpoint with a prefix hears of keys under it only', () => {
    const demo = { ...endpoint, prefix: 'demo/' }

    expect(wants(demo, verdictMessage('CLEAN', 'demo/a'))).to.equal(true)
    expect(wants(demo, verdictMessage('CLEAN', 'demolition/a'))).to.equal(false)
    expect(wants(demo, objectMessage('object.deleted', 'x/demo/a'))).to.equal(false)
  })

  describe('canary objects', () => {
    const key = smokeCanary(randomUUID(), 'eicar')
    const verdict = verdictMessage('INFECTED', key)
    const scannedAs = (bytes: Buffer) => {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      return { ...verdict, data: { ...verdict.data, scan: { sha256 } as never } }
    }

    it('reach nobody, whatever the prefix', () => {
      const deleted = objectMessage('object.deleted', key)
      const { eTag } = verdict.data.s3ObjectDetails
      Object.assign(deleted.data.s3ObjectDetails, { eTag })

      for (const message of [verdict, scannedAs(canaryContent(key)), deleted])
        for (const prefix of ['', 'avscan-canary/'])
          expect(wants({ ...endpoint, prefix }, message), message.type).to.equal(false)
    })

    it('are told of where somebody else has put other bytes there, whatever their ETag', () => {
      expect(wants(endpoint, scannedAs(Buffer.from('a virus')))).to.equal(true)
      expect(wants(endpoint, verdictMessage('INFECTED', 'avscan-canary/x'))).to.equal(true)
      expect(
        wants(endpoint, verdictMessage('INFECTED', smokeCanary(randomUUID(), 'clean'))),
      ).to.equal(true)
    })
  })

  it('what happens to an object later is told where objectEvents is on', () => {
    expect(wants(endpoint, objectMessage('object.deleted'))).to.equal(true)
    expect(wants(endpoint, objectMessage('object.action-failed'))).to.equal(true)
    expect(wants({ ...endpoint, objectEvents: false }, objectMessage())).to.equal(false)
  })

  it('a legacy receiver is told verdicts only', () => {
    const legacy: EndpointConfig = { ...endpoint, format: 'legacy' }

    expect(wants(legacy, verdictMessage('INFECTED'))).to.equal(true)
    expect(wants(legacy, objectMessage())).to.equal(false)
  })

  it('a verdict of an unknown name is told to nobody', () => {
    expect(wants(endpoint, { ...verdictMessage(), type: 'object.scan.constructor' })).to.equal(
      false,
    )
  })
})

describe('webhookBody', () => {
  it('standard: the very bytes of the message', () => {
    const raw = Buffer.from('{ "any":  "bytes" }')

    expect(webhookBody('standard', raw, verdictMessage())).to.equal(raw)
  })

  for (const [outcome, status, action] of [
    ['CLEAN', 'clean', 'tag'],
    ['INFECTED', 'infected', 'delete'],
    ['SUSPICIOUS', 'no', 'tag'],
    ['UNSCANNABLE', 'no', 'tag'],
    ['FAILED', 'no', 'tag'],
  ] as const) {
    it(`legacy: ${outcome} has status ${status} and action ${action}`, () => {
      const body = JSON.parse(
        webhookBody('legacy', Buffer.alloc(0), verdictMessage(outcome)).toString(),
      ) as Record<string, unknown>

      expect(Object.keys(body)).to.deep.equal(['Message', 'status', 'action'])
      expect(body).to.include({ status, action })
    })
  }

  it("legacy: Message is the store's event as text, the key encoded as the store encodes it", () => {
    const key = "a b+c/100%(é)*!'~.txt"
    const body = JSON.parse(
      webhookBody('legacy', Buffer.alloc(0), verdictMessage('INFECTED', key)).toString(),
    ) as { Message: string }
    const event = JSON.parse(body.Message) as {
      Key: string
      Records: { s3: { object: { key: string } } }[]
    }

    expect(event.Key).to.equal(`storagebucket/${key}`)
    expect(event.Records[0]?.s3.object.key).to.equal('a+b%2Bc%2F100%25%28%C3%A9%29%2A%21%27~.txt')
    expect(decodeJobs(Buffer.from(body.Message))[0]?.object).to.include({
      bucket: 'storagebucket',
      key,
      versionId: 'v1',
      etag: '44d88612fea8a8f36de82e1278abb02f',
      size: 68,
    })
  })

  it('legacy: a key that is no well-formed text still makes a body', () => {
    expect(() =>
      webhookBody('legacy', Buffer.alloc(0), verdictMessage('CLEAN', 'a\ud800b')),
    ).not.to.throw()
  })
})
